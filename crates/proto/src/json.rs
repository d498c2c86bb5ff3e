//! How fields look in JSON where serde's own form would not do.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// Whether a field holds its default, which JSON leaves out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Microseconds since 1970 as an RFC 3339 time in UTC.
pub mod time {
    use super::*;
    use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};

    /// Microseconds since 1970 as RFC 3339 text; `None` where the year has no four digits.
    pub fn to_text(us: i64) -> Option<String> {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1000).ok()?;
        at.format(&Rfc3339).ok()
    }

    /// RFC 3339 text as microseconds since 1970.
    pub fn from_text(text: &str) -> Option<i64> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1000).ok()
    }

    #[expect(missing_docs, reason = "serde's own form")]
    pub fn serialize<S: Serializer>(us: &i64, to: S) -> Result<S::Ok, S::Error> {
        let text = to_text(*us).ok_or_else(|| S::Error::custom("time out of range"))?;
        to.serialize_str(&text)
    }

    #[expect(missing_docs, reason = "serde's own form")]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        from_text(&text).ok_or_else(|| D::Error::custom("expected an RFC 3339 time"))
    }
}

/// A JSON document kept as text in protobuf and inline in JSON.
pub mod document {
    use super::*;
    use serde_json::Value;

    #[expect(missing_docs, reason = "serde's own form")]
    pub fn serialize<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
        if text.is_empty() {
            return to.serialize_unit();
        }
        let value: Value = serde_json::from_str(text).map_err(S::Error::custom)?;
        value.serialize(to)
    }

    #[expect(missing_docs, reason = "serde's own form")]
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        match Value::deserialize(from)? {
            Value::Null => Ok(String::new()),
            value => Ok(value.to_string()),
        }
    }
}

macro_rules! enum_by_name {
    ($module:ident, $kind:ident, $prefix:literal) => {
        #[doc = concat!("`", stringify!($kind), "` by its short lower-case name.")]
        pub mod $module {
            use super::*;
            use crate::v1::$kind;

            #[expect(missing_docs, reason = "serde's own form")]
            pub fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
                let kind = $kind::try_from(*value).unwrap_or_default();
                let name = kind.as_str_name().trim_start_matches($prefix);
                to.serialize_str(&name.to_ascii_lowercase())
            }

            #[expect(missing_docs, reason = "serde's own form")]
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
                let name = String::deserialize(from)?;
                let kind = $kind::from_str_name(&format!("{}{}", $prefix, name.to_ascii_uppercase()));
                kind.map(|kind| kind as i32).ok_or_else(|| D::Error::custom(concat!("unknown ", stringify!($module))))
            }
        }
    };
}

enum_by_name!(conversation_kind, ConversationKind, "CONVERSATION_KIND_");
enum_by_name!(role, Role, "ROLE_");
enum_by_name!(audience, Audience, "AUDIENCE_");
enum_by_name!(availability, Availability, "AVAILABILITY_");
enum_by_name!(file_status, FileStatus, "FILE_STATUS_");
