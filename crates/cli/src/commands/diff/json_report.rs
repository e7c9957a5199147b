//! Writes the report as one JSON object.

use std::io::{self, Write};

use libcomposefs_image::diff::causes::{Cause, CauseSubject, Hint, moved};
use libcomposefs_image::diff::{Change, Field, FieldValue, FileContent, Side};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::compare::TreeComparison;
use super::facts::Fact;
use super::labels;
use crate::input::InputKind;
use crate::inspect::mode;
use crate::json::{put_bytes, write_pretty};

const SIDES: [(Side, &str); 2] = [(Side::A, "a"), (Side::B, "b")];

/// Maximum number of names printed for an inode.
const MOST_NAMES: usize = 16;

/// Writes the whole report to `out`.
pub(super) fn write(comparison: &TreeComparison<'_>, out: &mut impl Write) -> io::Result<()> {
    write_pretty(out, &TreeReport(Some(comparison)))
}

/// Writes the report for images with the same bytes: it is empty.
pub(super) fn write_identical(out: &mut impl Write) -> io::Result<()> {
    write_pretty(out, &TreeReport(None))
}

/// Serializes the whole report; `None` for images with the same bytes.
pub(in crate::commands) struct TreeReport<'c, 't>(pub(in crate::commands) Option<&'c TreeComparison<'t>>);

impl Serialize for TreeReport<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(comparison) = self.0 else {
            return json!({"equal": true, "image": [], "causes": [], "changes": [], "moved": []}).serialize(serializer);
        };
        let mut report = serializer.serialize_map(None)?;
        report.serialize_entry("equal", &comparison.is_equal())?;
        for (side, key) in SIDES {
            report.serialize_entry(key, &describe(comparison, side))?;
        }
        report.serialize_entry("counts", &counts(comparison))?;
        report.serialize_entry("image", &comparison.facts.iter().map(|fact| fact.name()).collect::<Vec<_>>())?;
        report.serialize_entry("causes", &comparison.causes.iter().map(cause).collect::<Vec<_>>())?;
        report.serialize_entry("changes", &Changes(comparison))?;
        report.serialize_entry("moved", &moves(comparison))?;
        report.end()
    }
}

/// Serializes all changes one at a time, as there can be millions.
struct Changes<'c, 't>(&'c TreeComparison<'t>);

impl Serialize for Changes<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.diff.changes().iter().map(|found| change(self.0, found)))
    }
}

fn moves(comparison: &TreeComparison<'_>) -> Vec<Value> {
    let diff = &comparison.diff;
    let pair = |(a, b): (u32, u32)| {
        let mut pair = Map::new();
        for (key, number) in [("a", a), ("b", b)] {
            put_bytes(&mut pair, key, &diff.path(&diff.changes()[number as usize]));
        }
        Value::Object(pair)
    };
    moved(diff).into_iter().map(pair).collect()
}

fn describe(comparison: &TreeComparison<'_>, side: Side) -> Value {
    let loaded = comparison.side(side);
    let mut object = Map::new();
    put_bytes(&mut object, "path", comparison.request.paths[side as usize].as_os_str().as_encoded_bytes());
    let form = match loaded.form {
        InputKind::Image => "image",
        InputKind::Directory => "directory",
        InputKind::Dump => "dump",
        InputKind::Source => "oci",
    };
    object.insert("form".to_owned(), form.into());
    object.insert("algorithm".to_owned(), loaded.tree.algorithm().name().into());
    object.insert("entries".to_owned(), (loaded.tree.entry_count() + 1).into());
    object.insert("inodes".to_owned(), loaded.tree.inode_count().into());
    if let Some(facts) = &loaded.facts {
        let time = facts.build_time;
        object.insert("version".to_owned(), facts.version.into());
        object.insert("flags".to_owned(), facts.flags.into());
        object.insert("build-time".to_owned(), json!({"sec": time.sec, "nsec": time.nsec}));
        object.insert("forms".to_owned(), json!({"compact": facts.compact, "extended": facts.extended}));
        object.insert(Fact::Order.name().to_owned(), Fact::Order.of(facts).into());
    }
    object.into()
}

fn counts(comparison: &TreeComparison<'_>) -> Value {
    let counts = comparison.diff.counts();
    let differing = Field::ALL.into_iter().filter(|field| counts.field(*field) > 0);
    let fields: Map<_, _> = differing.map(|field| (field.name().to_owned(), counts.field(field).into())).collect();
    json!({
        "common": counts.common,
        "changed": counts.changed,
        "only_a": counts.only_a,
        "only_b": counts.only_b,
        "incomparable": counts.incomparable,
        "fields": fields,
    })
}

const fn key(side: Side) -> &'static str {
    SIDES[side as usize].1
}

fn cause(cause: &Cause<'_>) -> Value {
    let mut object = Map::new();
    match &cause.subject {
        CauseSubject::Only(side) => _ = object.insert("only".to_owned(), key(*side).into()),
        CauseSubject::Field(field) => {
            object.insert("field".to_owned(), field.name().into());
            for (value, (_, key)) in [&cause.old, &cause.new].into_iter().zip(SIDES) {
                if let Some(value) = value {
                    put_value(&mut object, key, *field, value);
                }
            }
        }
        CauseSubject::XattrOnly(side, name) => {
            put_bytes(&mut object, "xattr", name);
            object.insert("only".to_owned(), key(*side).into());
        }
        CauseSubject::XattrValue(name) => put_bytes(&mut object, "xattr", name),
    }
    object.insert("text".to_owned(), labels::cause(cause).into());
    object.insert("count".to_owned(), cause.changes.len().into());
    object.insert("of".to_owned(), cause.of.into());
    object.insert("type".to_owned(), cause.kind.map(mode::word).into());
    object.insert("hints".to_owned(), cause.hints.iter().map(hint).collect());
    object.into()
}

fn hint(hint: &Hint) -> Value {
    let (name, side) = match hint {
        Hint::Epoch(side) => ("epoch", Some(side)),
        Hint::OneMtime(side, _) => ("one-mtime", Some(side)),
        Hint::Clamped(side, _) => ("source-date-epoch", Some(side)),
        Hint::WholeSeconds(side) => ("whole-seconds", Some(side)),
        Hint::Shifted(_) => ("shifted", None),
        Hint::DirectoriesOnly => ("directories-only", None),
        Hint::OneUid(side, _) => ("one-uid", Some(side)),
        Hint::OneGid(side, _) => ("one-gid", Some(side)),
        Hint::Masked(side, _) => ("masked", Some(side)),
        Hint::NoXattrs(side) => ("no-xattrs", Some(side)),
        Hint::UserXattrs(side) => ("user-xattrs", Some(side)),
        Hint::SecurityLabel => ("security-label", None),
        Hint::WhiteoutMark => ("whiteout-mark", None),
        Hint::NoHardlinks(side) => ("no-hardlinks", Some(side)),
        Hint::InlineMax(..) => ("inline-max", None),
        Hint::NoDevices(side) => ("no-devices", Some(side)),
        Hint::Moved(_) => ("moved", None),
    };
    json!({"hint": name, "side": side.map(|side| key(*side)), "text": labels::hint(hint)})
}

fn change(comparison: &TreeComparison<'_>, change: &Change) -> Value {
    let diff = &comparison.diff;
    let mut object = Map::new();
    put_bytes(&mut object, "path", &diff.path(change));
    if let Some(side) = change.only() {
        object.insert("only".to_owned(), key(side).into());
        object.insert("type".to_owned(), diff.inode(side, change).map(|inode| mode::word(inode.kind())).into());
    }
    for field in change.fields().iter() {
        let value = match field {
            Field::Xattrs => xattrs(comparison, change),
            field => {
                let mut sides = Map::new();
                for (side, key) in SIDES {
                    match field {
                        Field::Links => _ = sides.insert(key.to_owned(), names(comparison, side, change)),
                        field => put_value(&mut sides, key, field, &diff.value(side, change, field)),
                    }
                }
                sides.into()
            }
        };
        object.insert(field.name().to_owned(), value);
    }
    object.into()
}

/// Number of names that share an inode, and the first of them.
fn names(comparison: &TreeComparison<'_>, side: Side, change: &Change) -> Value {
    let name = |path: Vec<u8>| {
        let mut object = Map::new();
        put_bytes(&mut object, "path", &path);
        Value::Object(object)
    };
    let FieldValue::Names(count) = comparison.diff.value(side, change, Field::Links) else { return Value::Null };
    let names = comparison.diff.names(side, change, MOST_NAMES);
    json!({"count": count, "names": names.into_iter().map(name).collect::<Vec<_>>()})
}

fn xattrs(comparison: &TreeComparison<'_>, change: &Change) -> Value {
    let object = |xattr: libcomposefs_image::diff::XattrChange<'_>| {
        let mut object = Map::new();
        put_bytes(&mut object, "name", xattr.name);
        for (value, (_, key)) in [xattr.old, xattr.new].into_iter().zip(SIDES) {
            match value {
                Some(value) => put_bytes(&mut object, key, value),
                None => _ = object.insert(key.to_owned(), Value::Null),
            }
        }
        Value::Object(object)
    };
    comparison.diff.xattrs(change).into_iter().map(object).collect()
}

fn put_value(object: &mut Map<String, Value>, key: &str, field: Field, value: &FieldValue<'_>) {
    let plain = match value {
        FieldValue::Path(bytes) => return put_bytes(object, key, bytes),
        FieldValue::Content(FileContent::Inline(bytes)) if field == Field::Content => {
            return put_bytes(object, key, bytes);
        }
        FieldValue::None => Value::Null,
        FieldValue::Number(number) => (*number).into(),
        FieldValue::Time(time) => json!({"sec": time.sec, "nsec": time.nsec}),
        FieldValue::Names(count) => (*count).into(),
        FieldValue::Place(is_place) => (*is_place).into(),
        value => labels::value(field, value).into(),
    };
    object.insert(key.to_owned(), plain);
}
