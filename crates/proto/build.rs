//! Compiles the contracts of `proto/` without `protoc`.

#[path = "src/shape.rs"]
mod shape;

use std::{error::Error, path::PathBuf};

use prost_types::{
    DescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const PUBLIC: &str = ".stonechat.v1";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["stonechat/v1", "stonechat/internal/v1"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let mut builder = tonic_prost_build::configure()
        .bytes(PUBLIC)
        .bytes(".stonechat.internal.v1.Call")
        .bytes(".stonechat.internal.v1.Reply")
        .bytes(".stonechat.internal.v1.RowKey")
        .bytes(".stonechat.internal.v1.RowPut")
        .bytes(".stonechat.internal.v1.RowFound")
        .bytes(".stonechat.internal.v1.RangeRows")
        .bytes(".stonechat.internal.v1.EventsToNode")
        .type_attribute(PUBLIC, "#[derive(serde::Serialize, serde::Deserialize)] #[serde(rename_all = \"snake_case\")]")
        .message_attribute(PUBLIC, "#[serde(default)]");
    for (path, attribute) in json_shape(&descriptors) {
        // Without a leading dot a path is matched from its end, so a one-of's field is not its variants.
        builder = builder.field_attribute(format!("stonechat.v1.{path}"), &attribute);
    }
    for oneof in ["Event.body", "ClientFrame.kind", "ServerFrame.kind"] {
        builder = builder.enum_attribute(format!("{PUBLIC}.{oneof}"), "#[serde(tag = \"type\")]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

/// How single fields look in JSON: times as RFC 3339, enums by name, one-ofs inline, defaults left out.
fn json_shape(descriptors: &FileDescriptorSet) -> Vec<(String, String)> {
    const LEAVE_OUT: &str = "skip_serializing_if = \"crate::json::is_default\"";
    let mut shape = Vec::new();
    for message in descriptors.file.iter().filter(|file| file.package() == "stonechat.v1").flat_map(|f| &f.message_type)
    {
        shape.extend(message_shape(message, LEAVE_OUT));
    }
    for path in [
        "Event.body",
        "Action.kind",
        "ClientFrame.kind",
        "ServerFrame.kind",
        "Signal.kind",
        "Command.action",
        "DataItem.item",
    ] {
        shape.push((path.to_owned(), "#[serde(flatten)]".to_owned()));
    }
    for path in shape::DOCUMENTS {
        shape.push(((*path).to_owned(), "#[serde(with = \"crate::json::document\")]".to_owned()));
    }
    for path in shape::LEFT_OUT {
        shape.push(((*path).to_owned(), format!("#[serde({LEAVE_OUT})]")));
    }
    shape
}

fn message_shape(message: &DescriptorProto, leave_out: &str) -> Vec<(String, String)> {
    let mut shape = Vec::new();
    for field in &message.field {
        let path = format!("{}.{}", message.name(), field.name());
        if shape::is_time(field) {
            let name = shape::time_name(field.name());
            shape.push((path, format!("#[serde(rename = \"{name}\", with = \"crate::json::time\", {leave_out})]")));
        } else if field.r#type() == Type::Enum && field.label() != Label::Repeated {
            let module = shape::module(field.type_name().rsplit('.').next().unwrap_or_default());
            shape.push((path, format!("#[serde(with = \"crate::json::{module}\", {leave_out})]")));
        }
    }
    shape
}
