// DICOMweb's search for studies, newest first. Orthanc's own search answers in the order of its hashes, so that a client that asks for the
// first 100 gets random ones; its REST API (/tools/find) can order. What this program does not understand goes to Orthanc's own search.
// Patient data must not reach nginx's error log: no exception leaves `search`.

// Attributes of studies in Orthanc's index: tag, keyword, VR. For others, Orthanc would read a file of each study.
var ATTRIBUTES = {
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
var ALWAYS = ['00080020', '00080030', '00080050', '00080061', '00080090', '00080201', '00100010', '00100020', '00100030', '00100040',
    '0020000D', '00200010', '00201206', '00201208'];
// Attributes of the series, which the viewer asks of studies: Orthanc would read a file of each study, and log a warning for each.
var OF_SERIES = ['00080060', 'Modality'];
// Not in the index of studies: Orthanc computes them. Of the others, it would read a file of each study that lacks one.
var COMPUTED = ['ModalitiesInStudy', 'NumberOfStudyRelatedSeries', 'NumberOfStudyRelatedInstances'];
var NOT_SEARCHED = ['00201206', '00201208'];

var LIMIT_DEFAULT = 1000; // of a search without `limit` and without a criterion
var LIMIT_MAXIMUM = 5000; // above it, Orthanc's own search sends the answer piece by piece
var SORTED_HERE = 1000; // up to this number, all matches are fetched and sorted here
var ROUNDS = 20; // requests for one part of an answer

var DATED = '00000000-99999999';
var ABOVE = ':-'; // texts that come after all digits, such as "yesterday"
// The last key makes the order the same in each request.
var NEWEST_FIRST = order(['StudyDate', 'StudyTime', 'StudyInstanceUID']);

function order(keys) {
    return keys.map(function(key) {
        return {Type: 'DicomTag', Key: key, Direction: 'DESC'};
    });
}

function tagOf(name) {
    if (ATTRIBUTES[name.toUpperCase()]) {
        return name.toUpperCase();
    }
    return Object.keys(ATTRIBUTES).filter(function(tag) {
        return ATTRIBUTES[tag][0] === name;
    })[0];
}

function decode(text) {
    return decodeURIComponent(text.replace(/\+/g, ' '));
}

// The request as {query, fields, limit, offset, limited}, or null where it is not understood.
function parse(args) {
    var parsed = {query: {}, fields: ALWAYS.slice(), limit: 0, offset: 0, limited: false};
    var seen = {};
    var parts = args.split('&');
    for (var i = 0; i < parts.length; i++) {
        if (parts[i] === '') {
            continue;
        }
        var equals = parts[i].indexOf('=');
        var key = decode(equals < 0 ? parts[i] : parts[i].slice(0, equals));
        var value = equals < 0 ? '' : decode(parts[i].slice(equals + 1));
        if (value.indexOf('\u0000') >= 0) {
            return null;
        }
        if (key === 'includefield') {
            var names = value.split(',');
            for (var j = 0; j < names.length; j++) {
                var field = tagOf(names[j]);
                if (!field && OF_SERIES.indexOf(names[j]) < 0) {
                    return null;
                }
                if (field && parsed.fields.indexOf(field) < 0) {
                    parsed.fields.push(field);
                }
            }
            continue;
        }
        var tag = tagOf(key);
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
            // Commas separate the values of a list, as in Orthanc's DICOMweb plugin, and backslashes do.
            parsed.query[ATTRIBUTES[tag][0]] = value.replace(/,/g, '\\');
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
    var values = text.split('\\').filter(function(value) {
        return value.trim() !== '';
    });
    if (vr === 'PN') {
        values = values.map(function(value) {
            var name = {};
            value.split('=').forEach(function(group, index) {
                if (group !== '' && index < 3) {
                    name[['Alphabetic', 'Ideographic', 'Phonetic'][index]] = group;
                }
            });
            return name;
        }).filter(function(name) {
            return Object.keys(name).length > 0;
        });
    } else if (vr === 'IS') {
        values = values.map(Number).filter(isFinite);
    }
    return values.length > 0 ? {vr: vr, Value: values} : {vr: vr};
}

function valueOf(study, keyword) {
    var parts = [study.MainDicomTags, study.PatientMainDicomTags, study.RequestedTags];
    for (var i = 0; i < parts.length; i++) {
        if (parts[i] && typeof parts[i][keyword] === 'string') {
            return parts[i][keyword];
        }
    }
    return undefined;
}

function present(study, fields, root) {
    var shown = {'00080005': {vr: 'CS', Value: ['ISO_IR 192']}};
    fields.forEach(function(tag) {
        var text = valueOf(study, ATTRIBUTES[tag][0]);
        if (text !== undefined) {
            shown[tag] = shape(ATTRIBUTES[tag][1], text);
        }
    });
    // The viewer loses its whole list at one study whose ModalitiesInStudy is there without a value.
    if (shown['00080061'] && !shown['00080061'].Value) {
        delete shown['00080061'];
    }
    shown['00081190'] = {vr: 'UR', Value: [root + '/studies/' + valueOf(study, 'StudyInstanceUID')]};
    return shown;
}

// Orthanc's REST API, as one search uses it.
function connect(r) {
    function ask(path, body) {
        // A subrequest without a body would send that of the request itself.
        return r.subrequest('/_lightbox/archive' + path, body ? {method: 'POST', body: JSON.stringify(body)} : {method: 'GET', body: ''})
            .then(function(reply) {
                if (reply.status !== 200) {
                    throw new Error('refused');
                }
                return JSON.parse(reply.responseText);
            });
    }
    function body(query) {
        return {Level: 'Study', Query: query, Expand: true, ResponseContent: ['MainDicomTags', 'RequestedTags'], RequestedTags: COMPUTED};
    }
    return {
        capabilities: function() {
            return ask('/system').then(function(system) {
                return system.Capabilities;
            });
        },
        count: function(query) {
            return ask('/tools/count-resources', {Level: 'Study', Query: query}).then(function(answer) {
                return answer.Count;
            });
        },
        all: function(query) {
            return ask('/tools/find', body(query));
        },
        // Orthanc applies its option LimitFindResults, and drops what only its index takes for a match, after the limit: a short page is not
        // the last one.
        find: async function(query, keys, since, want) {
            var found = [];
            var seen = {};
            for (var round = 0; found.length < want && round < ROUNDS; round++) {
                var page = body(query);
                page.OrderBy = keys;
                page.Since = since + found.length;
                page.Limit = want - found.length;
                var studies = await ask('/tools/find', page);
                studies = studies.filter(function(study) {
                    return !seen[study.ID];
                });
                if (studies.length === 0) {
                    break;
                }
                studies.forEach(function(study) {
                    seen[study.ID] = true;
                });
                found = found.concat(studies);
            }
            return found;
        }
    };
}

function narrow(query, dates) {
    var narrowed = {};
    Object.keys(query).forEach(function(key) {
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
    var found;
    if (offset === 0) {
        // Orders a tenth of what ten years hold, and is the same where it is enough.
        found = await archive.find(narrow(query, day(366) + '-99999999'), NEWEST_FIRST, 0, want);
        if (found.length === want) {
            return found;
        }
    }
    found = await archive.find(narrow(query, DATED), NEWEST_FIRST, offset, want);
    if (found.length === want) {
        return found;
    }
    var dated = offset + found.length;
    if (found.length === 0 && offset > 0) {
        dated = await archive.count(narrow(query, DATED));
    }
    var skipped = Math.max(0, offset - dated);
    var odd = await archive.find(narrow(query, ABOVE), NEWEST_FIRST, skipped, want - found.length);
    found = found.concat(odd);
    if (found.length === want) {
        return found;
    }
    var above = skipped + odd.length;
    if (odd.length === 0 && skipped > 0) {
        above = await archive.count(narrow(query, ABOVE));
    }
    var rest = await archive.find(query, order(['StudyDate']), dated + above + Math.max(0, skipped - above), want - found.length);
    return found.concat(rest);
}

function sorted(studies) {
    function key(study) {
        var date = valueOf(study, 'StudyDate') || '';
        return [date >= '0' && date < ':' ? date : '', valueOf(study, 'StudyTime') || '', valueOf(study, 'StudyInstanceUID')].join('\u0001');
    }
    return studies.map(function(study) {
        return [key(study), study];
    }).sort(function(one, two) {
        return one[0] < two[0] ? 1 : one[0] > two[0] ? -1 : 0;
    }).map(function(pair) {
        return pair[1];
    });
}

function day(back) {
    return new Date(Date.now() - back * 86400000).toISOString().slice(0, 10).replace(/-/g, '');
}

function clip(range, from, to) {
    return (from > range.first ? from : range.first) + '-' + (to < range.last ? to : range.last);
}

// How many studies there are since so many days back.
function countSince(archive, query, range, back) {
    return day(back) > range.last ? Promise.resolve(0) : archive.count(narrow(query, clip(range, day(back), range.last)));
}

// The days between which the study at `place` is: [days back, studies since then], twice. It is not after the day of `near`.
async function bracket(archive, query, range, place, near) {
    var begin = near[0] + 1;
    var far;
    var count;
    for (var step = 0; ; step = step * 2 + 1) {
        var back = begin + step;
        count = await countSince(archive, query, range, back);
        far = [back, count];
        if (count >= place || day(back) <= range.first || back > 100000) {
            break;
        }
        near = far;
    }
    while (far[0] - near[0] > 1 && far[1] - near[1] > 100) {
        var middle = Math.floor((near[0] + far[0]) / 2);
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
    var parts = /^([0-9]{8})?(-)?([0-9]{8})?$/.exec(hasDates(query) ? query.StudyDate : DATED);
    if (!parts || parts[1] && parts[3] && !parts[2]) {
        throw new Error('not a range of dates');
    }
    var range = {first: parts[1] || '00000000', last: parts[2] ? parts[3] || '99999999' : parts[1]};
    var found;
    var before = [-1, 0];
    var to = range.last;
    if (offset > 0) {
        var start = await bracket(archive, query, range, offset + 1, before);
        before = start.near;
        if (before[0] >= 0) {
            to = day(before[0] + 1);
        }
    }
    var end = await bracket(archive, query, range, offset + want, before);
    if (end.far[1] < offset + want && total <= LIMIT_MAXIMUM) {
        found = await archive.all(query);
        return sorted(found).slice(offset, offset + want);
    }
    found = await archive.all(narrow(query, clip(range, day(end.far[0]), to)));
    return sorted(found).slice(offset - before[1], offset - before[1] + want);
}

async function find(archive, query, offset, want) {
    var total = await archive.count(query);
    if (offset >= total) {
        return [];
    }
    // The index holds letters of ASCII only. Orthanc compares the others itself, but after a limit.
    if (total <= SORTED_HERE || /[^\x00-\x7f]/.test(JSON.stringify(query))) {
        var all = await archive.all(query);
        return sorted(all).slice(offset, offset + want);
    }
    var capabilities = await archive.capabilities();
    return capabilities.HasExtendedFind ? findOrdered(archive, query, offset, want) : findByDays(archive, query, offset, want, total);
}

async function search(r) {
    var begin = Date.now();
    try {
        var parsed = isJson(r.headersIn.Accept) ? parse(r.variables.args || '') : null;
        if (parsed) {
            var studies = await find(connect(r), parsed.query, parsed.offset, parsed.limit + (parsed.limited ? 1 : 0));
            r.variables.lightbox_study_list = parsed.limited && studies.length > parsed.limit ? 'more' : 'all';
            var root = 'https://' + r.headersIn.Host + r.uri.replace(/\/studies\/?$/, '');
            var shown = studies.slice(0, parsed.limit).map(function(study) {
                return present(study, parsed.fields, root);
            });
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
function listed(r) {
    return r.variables.args.replace(/%5C|\\/gi, ',');
}

export default {search, listed};
