// Runs login.js as nginx does, without nginx: reads scenarios (lists of requests) as JSON from standard input, prints what each request gets.
// node login.mjs login.js

import {readFileSync} from 'node:fs';

const source = readFileSync(process.argv[2], 'utf8');
const login = (await import('data:text/javascript,' + encodeURIComponent(source))).default;
const USERS = {admin: 'right password', bob: "bob's password"};
let time = 0;
// Whether another worker adds what this one has just not found.
let racing = false;
Date.now = () => time * 1000;

// njs 0.8's shared dictionaries: `incr` does not look whether an entry has expired, and sets its time anew.
function dictionary(timeout) {
    const entries = new Map();
    const found = (key) => (entries.has(key) && time < entries.get(key).until ? entries.get(key).value : undefined);
    const put = (key, value) => entries.set(key, {value, until: time + timeout});
    const sized = (key) => {
        const bytes = Buffer.byteLength(key);
        if (bytes < 17 || bytes > 144) {
            throw new Error(`a key of ${bytes} bytes takes another space: ${key}`);
        }
    };
    return {
        get: found,
        has: (key) => !racing && found(key) !== undefined,
        add: (key, value) => (sized(key), found(key) === undefined ? Boolean(put(key, value)) : false),
        set: (key, value) => (sized(key), put(key, value)),
        incr: (key, delta) => (sized(key), put(key, (entries.has(key) ? entries.get(key).value : 0) + delta), entries.get(key).value),
    };
}

function serve(request, cookies, server) {
    time = request.at ?? time;
    const authorization = request.authorization ?? (request.login && 'Basic ' + Buffer.from(request.login).toString('base64'));
    const variables = {remote_addr: request.from ?? '10.0.0.1', http_authorization: authorization, lightbox_denied: request.denied ?? ''};
    for (const [name, value] of Object.entries(cookies[request.browser] ?? {})) {
        variables['cookie_' + name] = value;
    }
    const r = {variables, status: 0};
    racing = request.race;
    const verdict = login.attempt(r);
    if (verdict === 'refused') {
        return variables.lightbox_retry_after ? `429 ${variables.lightbox_retry_after}` : '403';
    }
    if (verdict === 'right') {
        return finish(200, request, variables, cookies);
    }
    const sent = Buffer.from((variables.lightbox_login_authorization ?? '').replace('Basic ', ''), 'base64').toString();
    const key = variables.lightbox_login_credential ?? '';
    if (!server.remembered.has(key)) {
        server.checked += 1;
        const right = Object.entries(server.users).some(([name, password]) => sent === `${name}:${password}`);
        server.remembered.set(key, right ? 200 : 401);
    }
    r.status = server.remembered.get(key);
    if (request.parallel) {
        return r;
    }
    login.settle(r);
    return finish(r.status, request, variables, cookies);
}

function finish(status, request, variables, cookies) {
    if (request.browser && variables.lightbox_login_cookie) {
        const [name, value] = variables.lightbox_login_cookie.split(';')[0].split('=');
        cookies[request.browser] = {...cookies[request.browser], [name]: value};
    }
    if ((variables.lightbox_login_user ?? '') !== (status === 401 ? '' : request.login.split(':')[0])) {
        throw new Error(`the audit log would name ${variables.lightbox_login_user}`);
    }
    return String(status);
}

function start(users, digest) {
    globalThis.lightbox_logins = {digest};
    for (const name of Object.keys(users)) {
        globalThis.lightbox_logins['user:' + name] = `secret of ${name} ${users[name]}`;
    }
}

function play(requests) {
    globalThis.ngx = {
        shared: {
            lightbox_login_failures: dictionary(7200),
            lightbox_login_tried: dictionary(3600),
            lightbox_login_places: dictionary(30 * 86400),
            lightbox_login_memory: dictionary(Infinity),
        },
    };
    const server = {users: {...USERS}, remembered: new Map(), checked: 0};
    const cookies = {};
    let digest = 0;
    time = 1_800_000_000;
    start(server.users, String(digest));
    const answers = [];
    for (const request of requests) {
        if (request.change) {
            Object.assign(server.users, request.change);
            start(server.users, String(++digest));
        } else if (request.steal) {
            cookies[request.by] = {...cookies[request.steal]};
        } else if (request.forge) {
            cookies[request.forge] = Object.fromEntries(Object.keys(cookies[request.from]).map((name) => [name, 'a'.repeat(96)]));
        } else {
            for (let again = 0; again < (request.times ?? 1); again++) {
                const number = {...request, login: request.login?.replace('#', String(again)), from: request.from?.replace('#', String(again))};
                answers.push(serve(number, cookies, server));
            }
        }
    }
    return {answers: answers.map((answer) => answer.variables ? 'waits' : answer), checked: server.checked};
}

const input = JSON.parse(readFileSync(0, 'utf8'));
const output = input.scenarios ? input.scenarios.map(play) : input.addresses.map(login.listNetworks);
console.log(JSON.stringify(output));
