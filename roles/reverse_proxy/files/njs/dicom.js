// Decides about a DICOM connection by its first PDU, which must be a complete A-ASSOCIATE-RQ (DICOM PS3.8, 9.3.2). Orthanc takes one association
// at a time and waits for its first PDU, so it hears of no connection before that PDU is here.
//
// nginx gives the handler all bytes so far each time that some arrive, in a copy that it keeps as long as the connection. LARGEST and MOST_COPIED
// bound these copies: LARGEST is preread_buffer_size, enough for 128 presentation contexts of 30 transfer syntaxes each, and MOST_COPIED is enough for
// 64 kB in packets of 536 bytes.

const LARGEST = 131072;
const MOST_COPIED = 4194304;
const HEAD = 6;
// Without the items of variable length.
const SHORTEST = 68;
const ASSOCIATE_RQ = 1;
const TLS_HANDSHAKE = 22;
const TITLE = 16;
const CALLED = 10;
const CALLING = 26;
// A-ASSOCIATE-RJ and A-ABORT; every A-ASSOCIATE-AC is longer.
const SHORT_ANSWER = 10;

// A title's end is its first NUL, as for Orthanc. Leading and trailing spaces do not count.
function readTitle(data, start) {
    let title = '';
    for (let index = start; index < start + TITLE && data[index] !== 0; index++) {
        title += String.fromCharCode(data[index]);
    }
    return title.replace(/^ +| +$/g, '');
}

// A title for the log, which comes from anybody: printable ASCII, and nothing of a title that is secret.
function show(title) {
    return lightbox_dicom['hidden ' + title.toUpperCase()] ? '********'
        : title.replace(/[^ -~]|\\/g, (one) => '\\x' + ('0' + one.charCodeAt(0).toString(16)).slice(-2));
}

// The common names in a subject as OpenSSL writes it (RFC 2253), where a backslash stands before a comma that is part of a value.
function listCommonNames(subject) {
    return (subject.match(/(\\.|[^,+\\])+/g) || []).filter((part) => part.startsWith('CN=')).map((part) => part.slice(3));
}

function deviceOf(s) {
    return listCommonNames(s.variables.ssl_client_s_dn || '').join('+');
}

// Why the device may not call by this title, or ''.
function findRefusal(s, title) {
    if (/[\x01-\x1f\x7f]/.test(title)) {
        return 'calling AE title ' + show(title) + ' contains a control character';
    }
    if (lightbox_dicom.client_certificates === 'off') {
        return '';
    }
    if (s.variables.ssl_client_verify === 'SUCCESS') {
        const name = deviceOf(s);
        if (!lightbox_dicom['device ' + name]) {
            return 'the certificate is of \'' + name + '\', which is not in reverse_proxy_dicom_devices';
        }
        return lightbox_dicom['allowed ' + name + '|' + title.toUpperCase()] ? ''
            : 'calling AE title ' + show(title) + ' is not one of device ' + name;
    }
    if (lightbox_dicom.client_certificates !== 'required') {
        return '';
    }
    if (s.variables.ssl_protocol) {
        return 'the client has sent no certificate';
    }
    const owner = lightbox_dicom['owner ' + title.toUpperCase()];
    return owner ? 'calling AE title ' + show(title) + ' is one of device ' + owner + ', which must use TLS and its certificate' : '';
}

// Why these bytes cannot become a request, or ''.
function findError(data) {
    if (data.length > 0 && data[0] !== ASSOCIATE_RQ) {
        return data[0] === TLS_HANDSHAKE ? 'the client uses TLS on a port without TLS'
            : 'not DICOM: the first byte is 0x' + ('0' + data[0].toString(16)).slice(-2) + ', and 0x01 begins an A-ASSOCIATE-RQ';
    }
    const length = data.length >= HEAD ? data.readUInt32BE(2) : SHORTEST;
    if (length < SHORTEST) {
        return 'not DICOM: an A-ASSOCIATE-RQ of ' + length + ' bytes is too short';
    }
    return length > LARGEST - HEAD ? 'an A-ASSOCIATE-RQ of ' + length + ' bytes is too large, more than ' + (LARGEST - HEAD) : '';
}

// js_preread of both ports. What is refused by its titles or certificate goes to the server with `reject`.
function associate(s) {
    let copied = 0;
    s.on('upstream', (data) => {
        copied += data.length;
        const error = findError(data) || (copied > MOST_COPIED ? 'the A-ASSOCIATE-RQ arrives in too many pieces' : '');
        if (error) {
            s.variables.lightbox_dicom_refusal = error;
            s.done(400);
        } else if (data.length >= HEAD && data.length >= HEAD + data.readUInt32BE(2)) {
            const calling = readTitle(data, CALLING);
            const refusal = findRefusal(s, calling);
            s.variables.lightbox_dicom_calling = show(calling);
            s.variables.lightbox_dicom_called = show(readTitle(data, CALLED));
            s.variables.lightbox_dicom_refusal = refusal;
            s.variables.lightbox_dicom_target = refusal ? 'lightbox_dicom_rejection' : 'lightbox_archive_dicom';
            s.allow();
        }
    });
}

// js_filter of the server that rejects: A-ASSOCIATE-RJ (PS3.8, 9.3.4) with "rejected permanently", "service user", "calling AE title not recognized".
// It sends nothing on, so that all is read when the connection ends, which would be a reset otherwise.
function reject(s) {
    let done = false;
    s.on('upstream', () => {
        if (!done) {
            done = true;
            s.sendDownstream('\x03\x00\x00\x00\x00\x04\x00\x01\x01\x03');
        }
    });
}

// js_preread of the server behind it, which waits for bytes that never come.
function hold(s) {
    s.on('upstream', () => {});
}

// For the log: an HTTP-like status, and why the connection was refused, or ''.
function explain(s) {
    const seen = s.variables;
    const status = Number(seen.status);
    const late = Number(seen.session_time) >= lightbox_dicom.seconds - 0.1;
    if (seen.lightbox_dicom_refusal) {
        return [status === 400 ? 400 : 403, seen.lightbox_dicom_refusal];
    }
    if (status === 403) {
        return [403, 'the address is not in ' + (Number(seen.server_port) === lightbox_dicom.tls_port ? 'reverse_proxy_dicom_tls_networks'
            : 'reverse_proxy_dicom_networks')];
    }
    if (status === 503) {
        return [503, 'more than ' + lightbox_dicom.connections + ' connections from this address'];
    }
    if (seen.lightbox_dicom_target) {
        return [status, status === 502 ? 'Orthanc does not answer'
            : Number(seen.bytes_sent) === SHORT_ANSWER ? 'Orthanc has rejected or aborted the association' : ''];
    }
    if (seen.ssl_protocol && status === 500) {
        if ((seen.ssl_client_verify || '').startsWith('FAILED:')) {
            return [403, 'the client certificate is not accepted: ' + seen.ssl_client_verify.slice(7)];
        }
        if (late) {
            return [408, 'no TLS handshake within ' + lightbox_dicom.seconds + ' s'];
        }
        // nginx has the client's ciphers once it has read a ClientHello, and the newest version until then.
        if (seen.ssl_ciphers) {
            return [400, 'the TLS handshake failed: the client does not trust the certificate of this server, or has no cipher in common with it'];
        }
        return [400, seen.ssl_protocol === 'TLSv1.3' ? 'no TLS handshake: the client uses no TLS'
            : 'no TLS handshake: the client supports ' + seen.ssl_protocol + ' at most, and TLSv1.2 is needed'];
    }
    return late ? [408, 'no complete A-ASSOCIATE-RQ within ' + lightbox_dicom.seconds + ' s']
        : [400, 'the client has closed the connection before its A-ASSOCIATE-RQ was complete'];
}

function status(s) {
    return String(explain(s)[0]);
}

function refused(s) {
    return explain(s)[1];
}

export default {associate, reject, hold, status, refused, device: deviceOf, listCommonNames, readTitle};
