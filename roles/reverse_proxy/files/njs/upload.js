// The class of an upload by its size: 'large' from $lightbox_large_bytes on, else ''. An upload in chunks announces no size; Orthanc's DICOMweb plugin
// takes it in pieces.

function findClass(r) {
    return Number(r.variables.content_length || 0) >= Number(r.variables.lightbox_large_bytes) ? 'large' : '';
}

export default {findClass};
