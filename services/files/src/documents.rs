//! What streams bytes, in the OpenAPI document.

use serde_json::{Value, json};
use stonechat_filing::tus;
use stonechat_model::limits;

fn header(name: &str, description: &str, required: bool) -> Value {
    json!({ "name": name, "in": "header", "description": description, "required": required,
        "schema": { "type": "string" } })
}

fn in_path(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "description": description, "required": true, "schema": { "type": "string", "minLength": 1 } })
}

fn in_query(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "required": false, "schema": { "type": "string" } })
}

fn responses(statuses: &[(&str, &str)], body: Option<Value>) -> Value {
    let mut responses = serde_json::Map::new();
    for (status, description) in statuses {
        let mut response = json!({ "description": description });
        match &body {
            Some(body) if status.starts_with('2') => response["content"] = body.clone(),
            _ if status.starts_with('4') || status.starts_with('5') => {
                response["content"] =
                    json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
            }
            _ => {}
        }
        responses.insert((*status).to_owned(), response);
    }
    Value::Object(responses)
}

fn operation(id: &str, summary: &str, parameters: Vec<Value>, body: Option<&str>, responses: Value) -> Value {
    let mut described = json!({
        "operationId": id,
        "tags": ["File"],
        "summary": summary,
        "security": [{ "server": [] }, { "user": [] }],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(media) = body {
        described["requestBody"] = json!({ "required": true, "content": { media: {} } });
    }
    described
}

fn uploads() -> Value {
    let version = || header("Tus-Resumable", "The version of the protocol: 1.0.0.", true);
    json!({
        "options": {
            "operationId": "UploadOptions", "tags": ["File"], "summary": "What the tus protocol's server speaks",
            "description": format!("Extensions: {}. Checksums: {}.", tus::EXTENSIONS, tus::CHECKSUMS),
            "security": [], "responses": responses(&[("204", "Headers tell: Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm.")], None),
        },
        "post": operation("CreateUpload", "Begins a resumable upload (tus 1.0)", vec![
            version(),
            header("Upload-Length", "How many bytes there will be.", false),
            header("Upload-Metadata", "Pairs of a key and a base64 value: `filename`, `poster` (the file that shows a video), `owner` (for a server key).", false),
            header("Upload-Concat", "`partial`, or `final;` and the URLs of the parts.", false),
            header("Upload-Checksum", "Of the bytes that come along.", false),
        ], None, responses(&[
            ("201", "Begun; `Location` is where it goes on, and its last part is the id of the file that becomes of it."),
            ("400", "A header is not as it should be."), ("401", "No credential."), ("412", "Another version of the protocol."),
            ("413", "Larger than a file may be."), ("415", "A body of another type."), ("422", "The tenant's quota is reached."),
            ("460", "The checksum is not that of the bytes."), ("503", "Try again later."),
        ], None)),
    })
}

fn upload() -> Value {
    let version = || header("Tus-Resumable", "The version of the protocol: 1.0.0.", true);
    let file = || in_path("file", "The upload's id.");
    let mine = [
        ("401", "No credential."),
        ("404", "No upload of the caller."),
        ("410", "It has expired or was ended."),
        ("412", "Another version of the protocol."),
    ];
    let with = |more: &[(&'static str, &'static str)]| [mine.as_slice(), more].concat();
    json!({
        "head": operation("GetUpload", "How far an upload is", vec![file(), version()], None,
            responses(&with(&[("200", "Upload-Offset, Upload-Length, Upload-Expires, Upload-Metadata, Upload-Concat.")]), None)),
        "patch": operation("ContinueUpload", "More bytes of an upload", vec![
            file(), version(),
            header("Upload-Offset", "Where the bytes begin: how many are there.", true),
            header("Upload-Checksum", "sha1, sha256 or md5 and the sum in base64; of bytes with another sum none is kept.", false),
        ], Some("application/offset+octet-stream"), responses(&with(&[
            ("204", "Taken; `Upload-Offset` tells how far it is."), ("400", "A header is not as it should be, or the body broke off."),
            ("403", "A final upload takes no bytes."), ("409", "The offset is another one."), ("413", "More bytes than the upload has."),
            ("415", "A body of another type."), ("460", "The checksum is not that of the bytes."), ("503", "Try again later."),
        ]), None)),
        "delete": operation("EndUpload", "Ends an upload; its bytes go", vec![file(), version()], None,
            responses(&with(&[("204", "Ended."), ("422", "It is finished: delete the file.")]), None)),
    })
}

fn download(id: &str, summary: &str, parameters: Vec<Value>, more: &[(&'static str, &'static str)]) -> Value {
    let mut all = parameters;
    all.extend([
        in_query("download", "1: to be saved, not shown."),
        header("Range", "One range of bytes; several are answered with the whole.", false),
        header("If-None-Match", "The ETag of what is there already.", false),
        header("If-Range", "The ETag that the range is of.", false),
    ]);
    operation(
        id,
        summary,
        all,
        None,
        responses(
            &[
                more,
                &[
                    ("200", "The bytes."),
                    ("206", "The bytes of the range."),
                    ("304", "They are what the caller has."),
                    ("401", "No credential and no link."),
                    ("403", "The link is not valid or has expired."),
                    ("404", "No file that the caller may read."),
                    ("416", "The range is beyond the file."),
                    ("422", "A scanner found something in the file."),
                    ("503", "Try again later: also while the file is being scanned."),
                ],
            ]
            .concat(),
            Some(json!({ "*/*": {} })),
        ),
    )
}

/// The paths that stream bytes, beside those of the table.
pub fn paths() -> Value {
    let file = || in_path("file", "The file's id.");
    let size = in_path("size", "`small` or `large`.");
    json!({
        "/v1/uploads": uploads(),
        "/v1/uploads/{file}": upload(),
        "/v1/files": { "post": operation("UploadFile", &format!("Uploads a file of at most {} bytes by one request", limits::FILE_ONE_SHOT_BYTES), vec![
            in_query("name", "The name shown to people."),
            in_query("owner", "Under a server key, the user whose file it will be."),
        ], Some("application/octet-stream"), responses(&[
            ("201", "The file."), ("400", "The body is no file."), ("401", "No credential."), ("411", "Content-Length is missing."),
            ("413", "Larger than one request takes: use /v1/uploads."), ("422", "The tenant's quota is reached."), ("503", "Try again later."),
        ], Some(json!({ "application/json": { "schema": { "$ref": "#/components/schemas/File" } } })))) },
        "/v1/files/{file}": { "get": download("DownloadFile", "Gives a file's bytes", vec![
            file(), in_query("direct", "0: by this server, also where it would send the caller to the store."),
        ], &[
            ("307", "Where the tenant allows direct downloads: `Location` is a link to the store, good for a short time. Ask there for the same range, without the credential."),
        ]) },
        "/v1/files/{file}/thumbnails/{size}": { "get": download("DownloadThumbnail", "Gives a smaller form of a picture", vec![file(), size], &[]) },
    })
}
