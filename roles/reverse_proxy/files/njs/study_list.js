// DICOMweb's search for studies, newest first. Orthanc's own search answers in the order of its hashes, so that a client that asks for the
// first 100 gets random ones; its REST API (/tools/find) can order. What this program does not understand goes to Orthanc's own search.
// Patient data must not reach nginx's error log: no exception leaves `search`.

// Attributes of studies in Orthanc's index: tag, keyword, VR. For others, Orthanc would read a file of each study.
const ATTRIBUTES = {
    '00080020': ['StudyDate', 'DA'],
    '00080030': ['StudyTime', 'TM'],
    '00080050': ['AccessionNumber', 'SH'],
    '00080061': ['ModalitiesInStudy', 'CS'],
    '00080080': ['InstitutionName', 'LO'],
    '00080090': ['ReferringPhysicianName', 'PN'],
    '00080201': ['TimezoneOffsetFromUTC', 'SH'],
    '00081030': ['StudyDescription', 'LO'],
    '00100010': ['PatientName', 'PN'],
    '00100020': ['PatientID', 'LO'],
    '00100030': ['PatientBirthDate', 'DA'],
    '00100040': ['PatientSex', 'CS'],
    '0020000D': ['StudyInstanceUID', 'UI'],
    '00200010': ['StudyID', 'SH'],
    '00201206': ['NumberOfStudyRelatedSeries', 'IS'],
    '00201208': ['NumberOfStudyRelatedInstances', 'IS'],
    '00321032': ['RequestingPhysician', 'PN'],
    '00321060': ['RequestedProcedureDescription', 'LO']
};
// What each answer has (PS3.18, table 10.6.3-3).
const ALWAYS = ['00080020', '00080030', '00080050', '00080061', '00080090', '00080201', '00100010', '00100020', '00100030', '00100040',
    '0020000D', '00200010', '00201206', '00201208'];
// Attributes of the series, which the viewer asks of studies: Orthanc would read a file of each study, and log a warning for each.
const OF_SERIES = ['00080060', 'Modality'];
// Not in the index of studies: Orthanc computes them. Of the others, it would read a file of each study that lacks one.
const COMPUTED = ['ModalitiesInStudy', 'NumberOfStudyRelatedSeries', 'NumberOfStudyRelatedInstances'];
const NOT_SEARCHED = ['00201206', '00201208'];

const LIMIT_DEFAULT = 1000; // of a search without `limit` and without a criterion
const LIMIT_MAXIMUM = 5000; // above it, Orthanc's own search sends the answer piece by piece
const SORTED_HERE = 1000; // up to this number, all matches are fetched and sorted here
const ROUNDS = 20; // requests for one part of an answer

// The last key makes the order the same in each request.
const NEWEST_FIRST = describeOrder(['StudyDate', 'StudyTime', 'StudyInstanceUID']);

function describeOrder(keys) {
    return keys.map((key) => ({Type: 'DicomTag', Key: key, Direction: 'DESC'}));
}

function findTag(name) {
    if (ATTRIBUTES[name.toUpperCase()]) {
        return name.toUpperCase();
    }
    return Object.keys(ATTRIBUTES).filter((tag) => ATTRIBUTES[tag][0] === name)[0];
}

function decode(text) {
    return decodeURIComponent(text.replace(/\+/g, ' '));
}

// The value of a criterion as Orthanc takes it. Backslashes separate the values of a list; in lists of UIDs, commas do, too (PS3.18, 8.3.4.1), and
// viewers write modalities so. In other attributes, a comma is part of the value. A name has none as a rule: "Doe^John^Q" is shown, and typed, as
// "Doe, John Q".
function translateValue(keyword, vr, value) {
    if (vr === 'UI' || keyword === 'ModalitiesInStudy') {
        return value.replace(/,/g, '\\');
    }
    if (vr === 'PN' && value.indexOf(',') >= 0 && value.indexOf('^') < 0) {
        const parts = value.split(/ *, */);
        return parts[0] + '^' + parts.slice(1).join('^').replace(/ /g, '?');
    }
    return value;
}

// The request as {query, fields, limit, offset, limited}, or null where it is not understood.
function parse(args) {
    const parsed = {query: {}, fields: ALWAYS.slice(), limit: 0, offset: 0, limited: false};
    const seen = {};
    const parts = args.split('&');
    for (let i = 0; i < parts.length; i++) {
        if (parts[i] === '') {
            continue;
        }
        const equals = parts[i].indexOf('=');
        const key = decode(equals < 0 ? parts[i] : parts[i].slice(0, equals));
        const value = equals < 0 ? '' : decode(parts[i].slice(equals + 1));
        if (value.indexOf('\u0000') >= 0) {
            return null;
        }
        if (key === 'includefield') {
            const names = value.split(',');
            for (let j = 0; j < names.length; j++) {
                const field = findTag(names[j]);
                if (!field && OF_SERIES.indexOf(names[j]) < 0) {
                    return null;
                }
                if (field && parsed.fields.indexOf(field) < 0) {
                    parsed.fields.push(field);
                }
            }
            continue;
        }
        const tag = findTag(key);
        if (seen[tag || key]) {
            return null;
        }
        seen[tag || key] = true;
        if (key === 'limit' || key === 'offset') {
            if (!/^[0-9]{1,9}$/.test(value)) {
                return null;
            }
            parsed[key] = Number(value);
        } else if (key === 'fuzzymatching') {
            if (value !== 'false') {
                return null;
            }
        } else if (tag && NOT_SEARCHED.indexOf(tag) < 0) {
            parsed.query[ATTRIBUTES[tag][0]] = translateValue(ATTRIBUTES[tag][0], ATTRIBUTES[tag][1], value);
            if (parsed.fields.indexOf(tag) < 0) {
                parsed.fields.push(tag);
            }
        } else {
            return null;
        }
    }
    if (parsed.limit === 0) {
        if (Object.keys(parsed.query).length > 0) {
            return null;
        }
        parsed.limit = LIMIT_DEFAULT;
        parsed.limited = true;
    }
    return parsed.limit > LIMIT_MAXIMUM ? null : parsed;
}

function isJson(accept) {
    return !accept || /(^|[\s,])(application\/(dicom\+)?json|application\/\*|\*\/\*)\s*($|[;,])/.test(accept) && !/xml/.test(accept);
}

// One attribute in the DICOM JSON model. Viewers fail at a list that begins with nothing, so empty values are left out.
function shape(vr, text) {
    let values = text.split('\\').filter((value) => value.trim() !== '');
    if (vr === 'PN') {
        values = values.map((value) => {
            const name = {};
            value.split('=').forEach((group, index) => {
                if (group !== '' && index < 3) {
                    name[['Alphabetic', 'Ideographic', 'Phonetic'][index]] = group;
                }
            });
            return name;
        }).filter((name) => Object.keys(name).length > 0);
    } else if (vr === 'IS') {
        values = values.map(Number).filter(isFinite);
    }
    return values.length > 0 ? {vr: vr, Value: values} : {vr: vr};
}

function readValue(study, keyword) {
    const parts = [study.MainDicomTags, study.PatientMainDicomTags, study.RequestedTags];
    for (let i = 0; i < parts.length; i++) {
        if (parts[i] && typeof parts[i][keyword] === 'string') {
            return parts[i][keyword];
        }
    }
    return undefined;
}

function present(study, fields, root) {
    const shown = {'00080005': {vr: 'CS', Value: ['ISO_IR 192']}};
    fields.forEach((tag) => {
        const text = readValue(study, ATTRIBUTES[tag][0]);
        if (text !== undefined) {
            shown[tag] = shape(ATTRIBUTES[tag][1], text);
        }
    });
    // The viewer loses its whole list at one study whose ModalitiesInStudy is there without a value.
    if (shown['00080061'] && !shown['00080061'].Value) {
        delete shown['00080061'];
    }
    shown['00081190'] = {vr: 'UR', Value: [root + '/studies/' + readValue(study, 'StudyInstanceUID')]};
    return shown;
}

// Orthanc's REST API, as one search uses it.
function connect(r) {
    function ask(path, body) {
        // A subrequest without a body would send that of the request itself.
        return r.subrequest('/_lightbox/archive' + path, body ? {method: 'POST', body: JSON.stringify(body)} : {method: 'GET', body: ''})
            .then((reply) => {
                if (reply.status !== 200) {
                    throw new Error('refused');
                }
                return JSON.parse(reply.responseText);
            });
    }
    function buildQuery(query) {
        return {Level: 'Study', Query: query, Expand: true, ResponseContent: ['MainDicomTags', 'RequestedTags'], RequestedTags: COMPUTED};
    }
    return {
        // Whether studies without a valid date are missing at the end of the answer.
        isIncomplete: false,
        capabilities: () => {
            return ask('/system').then((system) => system.Capabilities);
        },
        count: (query) => {
            return ask('/tools/count-resources', {Level: 'Study', Query: query}).then((answer) => answer.Count);
        },
        all: (query) => ask('/tools/find', buildQuery(query)),
        // Orthanc applies its option LimitFindResults, and drops what only its index takes for a match, after the limit: a short page is not
        // the last one.
        find: async (query, keys, since, want) => {
            let found = [];
            const seen = {};
            for (let round = 0; found.length < want && round < ROUNDS; round++) {
                const page = buildQuery(query);
                page.OrderBy = keys;
                page.Since = since + found.length;
                page.Limit = want - found.length;
                let studies = await ask('/tools/find', page);
                studies = studies.filter((study) => !seen[study.ID]);
                if (studies.length === 0) {
                    break;
                }
                studies.forEach((study) => {
                    seen[study.ID] = true;
                });
                found = found.concat(studies);
            }
            return found;
        }
    };
}

function narrow(query, dates) {
    const narrowed = {};
    Object.keys(query).forEach((key) => {
        narrowed[key] = query[key];
    });
    narrowed.StudyDate = dates;
    return narrowed;
}

function hasDates(query) {
    return query.StudyDate !== undefined && query.StudyDate !== '' && query.StudyDate !== '*';
}

// Where the database can order. Studies without a date come last, after those whose date is not one: databases differ in where they put both.
async function findOrdered(archive, query, offset, want) {
    if (hasDates(query)) {
        return archive.find(query, NEWEST_FIRST, offset, want);
    }
    const past = narrow(query, '00000000-' + findLastDay());
    const above = narrow(query, findLastDay() + '!-');
    let found;
    if (offset === 0) {
        // Orders a tenth of what ten years hold, and is the same where it is enough.
        found = await archive.find(narrow(query, formatDay(366) + '-' + findLastDay()), NEWEST_FIRST, 0, want);
        if (found.length === want) {
            return found;
        }
    }
    found = await archive.find(past, NEWEST_FIRST, offset, want);
    if (found.length === want) {
        return found;
    }
    let dated = offset + found.length;
    if (found.length === 0 && offset > 0) {
        dated = await archive.count(past);
    }
    const skipped = Math.max(0, offset - dated);
    const odd = await archive.find(above, NEWEST_FIRST, skipped, want - found.length);
    found = found.concat(odd);
    if (found.length === want) {
        return found;
    }
    let others = skipped + odd.length;
    if (odd.length === 0 && skipped > 0) {
        others = await archive.count(above);
    }
    const rest = await archive.find(query, describeOrder(['StudyDate']), dated + others + Math.max(0, skipped - others), want - found.length);
    return found.concat(rest);
}

function sortNewestFirst(studies) {
    function buildKey(study) {
        const date = readValue(study, 'StudyDate') || '';
        return [date >= '0' && date <= findLastDay() ? '1' + date : '0' + date, readValue(study, 'StudyTime') || '', readValue(study, 'StudyInstanceUID')].join('\u0001');
    }
    return studies.map((study) => [buildKey(study), study]).sort((one, two) => one[0] < two[0] ? 1 : one[0] > two[0] ? -1 : 0).map((pair) => pair[1]);
}

function formatDay(back) {
    return new Date(Date.now() - back * 86400000).toISOString().slice(0, 10).replace(/-/g, '');
}

// Tomorrow, which is today somewhere. Later dates are mistakes, as texts that come after all digits ("yesterday"): they do not precede today's studies.
function findLastDay() {
    return formatDay(-1);
}

function clip(range, from, to) {
    return (from > range.first ? from : range.first) + '-' + (to < range.last ? to : range.last);
}

// How many studies there are since so many days back.
function countSince(archive, query, range, back) {
    return formatDay(back) > range.last ? Promise.resolve(0) : archive.count(narrow(query, clip(range, formatDay(back), range.last)));
}

// The days between which the study at `place` is: [days back, studies since then], twice. It is not after the day of `near`.
async function bracket(archive, query, range, place, near) {
    const begin = near[0] + 1;
    let far;
    let count;
    for (let step = 0; ; step = step * 2 + 1) {
        const back = begin + step;
        count = await countSince(archive, query, range, back);
        far = [back, count];
        if (count >= place || formatDay(back) <= range.first || back > 100000) {
            break;
        }
        near = far;
    }
    while (far[0] - near[0] > 1 && far[1] - near[1] > 100) {
        const middle = Math.floor((near[0] + far[0]) / 2);
        count = await countSince(archive, query, range, middle);
        if (count >= place) {
            far = [middle, count];
        } else {
            near = [middle, count];
        }
    }
    return {near: near, far: far};
}

// Where the database cannot order (Debian's plugin for PostgreSQL): counting is cheap, so this finds the days that hold the wanted studies,
// and sorts those.
async function findByDays(archive, query, offset, want, total) {
    const parts = /^([0-9]{8})?(-)?([0-9]{8})?$/.exec(hasDates(query) ? query.StudyDate : '00000000-' + findLastDay());
    if (!parts || parts[1] && parts[3] && !parts[2]) {
        throw new Error('not a range of dates');
    }
    const range = {first: parts[1] || '00000000', last: parts[2] ? parts[3] || '99999999' : parts[1]};
    let found;
    let before = [-1, 0];
    let to = range.last;
    if (offset > 0) {
        const start = await bracket(archive, query, range, offset + 1, before);
        before = start.near;
        if (before[0] >= 0) {
            to = formatDay(before[0] + 1);
        }
    }
    const end = await bracket(archive, query, range, offset + want, before);
    if (end.far[1] < offset + want && total <= LIMIT_MAXIMUM) {
        found = await archive.all(query);
        return sortNewestFirst(found).slice(offset, offset + want);
    }
    found = await archive.all(narrow(query, clip(range, formatDay(end.far[0]), to)));
    return sortNewestFirst(found).slice(offset - before[1], offset - before[1] + want);
}

async function find(archive, query, offset, want) {
    const total = await archive.count(query);
    if (offset >= total) {
        return [];
    }
    // The index holds letters of ASCII only. Orthanc compares the others itself, but after a limit.
    if (total <= SORTED_HERE || /[^\x00-\x7f]/.test(JSON.stringify(query))) {
        const all = await archive.all(query);
        return sortNewestFirst(all).slice(offset, offset + want);
    }
    const capabilities = await archive.capabilities();
    if (capabilities.HasExtendedFind) {
        return findOrdered(archive, query, offset, want);
    }
    const found = await findByDays(archive, query, offset, want, total);
    archive.isIncomplete = found.length < want && offset + found.length < total;
    return found;
}

async function search(r) {
    const begin = Date.now();
    try {
        const parsed = isJson(r.headersIn.Accept) ? parse(r.variables.args || '') : null;
        if (parsed) {
            const archive = connect(r);
            const studies = await find(archive, parsed.query, parsed.offset, parsed.limit + (parsed.limited ? 1 : 0));
            r.variables.lightbox_study_list = parsed.limited && studies.length > parsed.limit ? 'more' : archive.isIncomplete ? 'undated' : 'all';
            const root = 'https://' + r.headersIn.Host + r.uri.replace(/\/studies\/?$/, '');
            const shown = studies.slice(0, parsed.limit).map((study) => present(study, parsed.fields, root));
            r.variables.lightbox_study_list_seconds = ((Date.now() - begin) / 1000).toFixed(3);
            r.headersOut['Content-Type'] = 'application/dicom+json';
            r.return(200, JSON.stringify(shown));
            return;
        }
    } catch (e) {
        // Orthanc's own search answers, or fails as it does.
    }
    r.internalRedirect('@lightbox_study_search');
}

// The query for Orthanc's own search, which drops backslashes: PS3.18 lets them separate the values of a list, as commas do.
function separateByCommas(r) {
    return r.variables.args.replace(/%5C|\\/gi, ',');
}

export default {search, separateByCommas};
