// Limits on failed logins. They apply before the password is checked, and before a remembered answer is given: where a limit is reached, a right
// password gets the same answer as a wrong one.
//
// An attempt is a password that was not tried within the last hour: the same wrong password again and again is not a guess, so a script with an old
// password locks nobody out. It counts before it is checked, so that parallel attempts count, and no longer once it turns out to be right. A right
// password changes nothing for the attempts of others.

import crypto from 'crypto';

const WINDOW = 600;
const HOUR = 3600;
const DAY = 86400;
const PER_DEVICE = 10;
const PER_NETWORK = 30;
const PER_NETWORK_AND_NAME = 10;
const PER_NAME = 1000;
// From so many failures on, a name is being guessed: a place where it has never been used gets fewer attempts, but its owner gets some, too.
const GUESSED = 100;
const PER_NETWORK_AND_GUESSED_NAME = 3;
// An IPv6 network of 2^16 prefixes may fail this many times as often as one prefix.
const SITE = 4;

// What is remembered of a password that was tried: that it was, or that it was right.
const ASKED = 1;
const RIGHT = 2;

// The names that the role accepts in reverse_proxy_users.
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}$/;

function now() {
    return Math.floor(Date.now() / 1000);
}

function hmac(key, purpose, data) {
    return crypto.createHmac('sha256', key).update(purpose + ' ').update(data).digest('hex');
}

// The networks that an address counts for: itself for IPv4; for IPv6 its /64, which is what one customer has at least, and its /48.
function listNetworks(address) {
    const mapped = address.match(/^(::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i);
    if (mapped) {
        return [mapped[2]];
    }
    const halves = address.replace(/\d+\.\d+\.\d+\.\d+$/, '0:0').toLowerCase().split('::');
    const head = halves[0] ? halves[0].split(':') : [];
    const tail = halves.length > 1 && halves[1] ? halves[1].split(':') : [];
    while (head.length + tail.length < 8) {
        head.push('0');
    }
    const groups = head.concat(tail).map((group) => group.replace(/^0+(?=.)/, ''));
    return [groups.slice(0, 4).join(':') + '::/64', groups.slice(0, 3).join(':') + '::/48'];
}

// Name and bytes of "name:password" in an Authorization header. Several forms of the header (case, spaces, base64 padding) give the same bytes.
// The name is null where it cannot be that of a user; the bytes are null where the header has none.
function parse(header) {
    const basic = header.match(/^basic +([A-Za-z0-9+\/]+)=* *$/i);
    const bytes = basic ? Buffer.from(basic[1], 'base64') : null;
    const colon = bytes ? bytes.indexOf(':') : -1;
    if (colon < 0) {
        return {name: null, bytes: null};
    }
    const name = bytes.slice(0, colon).toString();
    return {name: NAME.test(name) ? name : null, bytes: bytes};
}

// A random key for the time that nginx runs, in memory only: what is remembered under it cannot be used to guess passwords offline.
function memoryKey() {
    const memory = ngx.shared.lightbox_login_memory;
    if (!memory.has('lightbox-login-key')) {
        const random = new Uint8Array(32);
        globalThis.crypto.getRandomValues(random);
        memory.add('lightbox-login-key', Buffer.from(random).toString('hex'));
    }
    return memory.get('lightbox-login-key');
}

// A browser that has logged in has a cookie, valid for one name and until its password changes. Each name has a cookie of its own: people share
// workstations. The key comes from the name's bcrypt hash, so it is as secret as the login file.
function cookieName(key) {
    return '__Host-lightbox-' + hmac(key, 'cookie', '').slice(0, 16);
}

function signDevice(key, id) {
    return id + hmac(key, 'device', id);
}

function deviceKey(name) {
    return lightbox_logins['user:' + name];
}

// The id of the browser that sent the request, or '' where it has not logged in with this name.
function deviceOf(r, name) {
    const key = deviceKey(name);
    const value = key ? r.variables['cookie_' + cookieName(key)] : undefined;
    if (!value || !/^[0-9a-f]{96}$/.test(value)) {
        return '';
    }
    const id = value.slice(0, 32);
    const expected = hmac(memoryKey(), 'compare', signDevice(key, id));
    return hmac(memoryKey(), 'compare', value) === expected ? id : '';
}

// All keys have 17 to 144 bytes, which take the same space in a shared dictionary: what is evicted makes room for what is added.
function limit(seconds, parts, most) {
    const period = Math.floor(now() / seconds);
    return {
        key: 'lightbox-failures ' + parts.join(' ') + ' ' + period.toString(36),
        most: most,
        wait: (period + 1) * seconds - now(),
    };
}

function placeOf(r, name) {
    return 'lightbox-place ' + listNetworks(r.variables.remote_addr)[0] + ' ' + name;
}

function deviceLimits(name, id) {
    return [limit(WINDOW, ['device', id, name], PER_DEVICE)];
}

function placeLimits(r, name) {
    const limits = [];
    let most = PER_NETWORK_AND_NAME;
    // Where somebody has logged in with this name, failures elsewhere do not count.
    if (name && !ngx.shared.lightbox_login_places.has(placeOf(r, name))) {
        limits.push(limit(HOUR, ['name', name], PER_NAME));
        if (ngx.shared.lightbox_login_failures.get(limits[0].key) >= GUESSED) {
            most = PER_NETWORK_AND_GUESSED_NAME;
        }
    }
    listNetworks(r.variables.remote_addr).forEach((network, index) => {
        const factor = index ? SITE : 1;
        limits.push(limit(WINDOW, ['network', network], PER_NETWORK * factor));
        if (name) {
            limits.push(limit(WINDOW, ['network', network, name], most * factor));
        }
    });
    return limits;
}

function findReached(limits) {
    return limits.filter((one) => (ngx.shared.lightbox_login_failures.get(one.key) || 0) >= one.most);
}

function add(keys, delta) {
    keys.forEach((key) => ngx.shared.lightbox_login_failures.incr(key, delta));
}

// Counts an attempt; gives the limits that it exceeds because others reached them at the same time.
function count(limits) {
    return limits.filter((one) => ngx.shared.lightbox_login_failures.incr(one.key, 1) > one.most);
}

// After the password was found right: the place and the browser are remembered. What nobody may do is refused only now.
function welcome(r, name, device) {
    r.variables.lightbox_login_user = name;
    const today = Math.floor(now() / DAY);
    const place = placeOf(r, name);
    if (ngx.shared.lightbox_login_places.get(place) !== today) {
        ngx.shared.lightbox_login_places.set(place, today);
    }
    const key = deviceKey(name);
    if (key && !device && !r.variables.lightbox_login_cookie) {
        const random = new Uint8Array(16);
        globalThis.crypto.getRandomValues(random);
        const value = signDevice(key, Buffer.from(random).toString('hex'));
        r.variables.lightbox_login_cookie = cookieName(key) + '=' + value + '; Path=/; Max-Age=34560000; Secure; HttpOnly; SameSite=Lax';
    }
    return !r.variables.lightbox_denied;
}

// Decides about a login before the password is checked: 'refused'; 'right', where it is remembered; or 'check', with the login for the login server.
function attempt(r) {
    const header = r.variables.http_authorization;
    if (!header) {
        return 'check';
    }
    const login = parse(header);
    const credential = hmac(memoryKey(), 'credential ' + lightbox_logins.digest, login.bytes || header);
    const device = login.name ? deviceOf(r, login.name) : '';
    let limits = device ? deviceLimits(login.name, device) : placeLimits(r, login.name);
    let reached = findReached(limits);
    if (device && reached.length > 0) {
        limits = placeLimits(r, login.name);
        reached = findReached(limits);
    }
    const tried = ngx.shared.lightbox_login_tried;
    if (reached.length === 0 && !tried.has(credential)) {
        reached = count(limits);
        if (reached.length === 0) {
            const keys = limits.map((one) => one.key);
            // Another worker may have tried it since.
            if (tried.add(credential, ASKED)) {
                r.variables.lightbox_login_counted = keys.join('\n');
            } else {
                add(keys, -1);
            }
        }
    }
    if (reached.length > 0) {
        r.variables.lightbox_retry_after = String(Math.max.apply(null, reached.map((one) => one.wait)));
        return 'refused';
    }
    if (login.name) {
        if (tried.get(credential) === RIGHT) {
            return welcome(r, login.name, device) ? 'right' : 'refused';
        }
        r.variables.lightbox_login_name = login.name;
        r.variables.lightbox_login_device = device;
        r.variables.lightbox_login_credential = credential;
        r.variables.lightbox_login_authorization = 'Basic ' + login.bytes.toString('base64');
    }
    return 'check';
}

// Takes the login server's answer.
function settle(r) {
    const name = r.variables.lightbox_login_name;
    if (r.status !== 200 || !name) {
        return;
    }
    ngx.shared.lightbox_login_tried.set(r.variables.lightbox_login_credential, RIGHT);
    if (r.variables.lightbox_login_counted) {
        add(r.variables.lightbox_login_counted.split('\n'), -1);
        r.variables.lightbox_login_counted = '';
    }
    if (!welcome(r, name, r.variables.lightbox_login_device)) {
        r.status = 403;
    }
}

export default {attempt, settle, listNetworks, parse};
