//! Files of an EFI system partition, chosen by the first byte: `p` for an EFI program, `e` for the names of two entries
//! and the text of an entry, with a NUL after each name, `o` for an `os-release`.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_disk::EfiHeaders;
use libcomposefs_disk::entries::{
    BootEntryText, EntryFileName, EntryRank, OwnEntryName, SystemNames, named_digests, options_with_image,
};
use libfuzzer_sys::fuzz_target;

// The text of a section is kept, and once more if it is not UTF-8.
static PROGRAM: Budget =
    Budget::new("EFI program", Linear { base: 512 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 2_000 });
static ENTRY: Budget =
    Budget::new("boot entry", Linear { base: 64 << 10, per_byte: 128 }, Linear { base: 5_000_000, per_byte: 8_000 });

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'p' => PROGRAM.check(bytes.len(), || program(bytes)),
        b'e' => ENTRY.check(bytes.len(), || entry(bytes)),
        b'o' => ENTRY.check(bytes.len(), || names(bytes)),
        _ => {}
    }
});

fn program(bytes: &[u8]) {
    let Some(headers) = EfiHeaders::of_bytes(bytes) else { return };
    for text in [&headers.command_line, &headers.os_release].into_iter().flatten() {
        // Bytes that are not UTF-8 become characters of three bytes.
        assert!(text.len() <= 3 * bytes.len());
    }
}

fn entry(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let name = |part: Option<&[u8]>| EntryFileName::parse(&String::from_utf8_lossy(part.unwrap_or_default()));
    let (one, two) = (name(parts.next()), name(parts.next()));
    for name in [&one, &two] {
        assert_eq!(EntryFileName::parse(&name.to_string()), *name);
        if let Some(own) = OwnEntryName::of(name) {
            assert_eq!(own.file_name(name.counter), *name);
        }
    }
    let Ok(text) = BootEntryText::parse(parts.next().unwrap_or_default()) else { return };
    let ranks = [one, two].map(|name| {
        let of = |key: &str| text.get(key).map(str::to_owned);
        EntryRank { name, sort_key: of("sort-key"), machine_id: of("machine-id"), version: of("version") }
    });
    assert_eq!(ranks[0].compare(&ranks[1]), ranks[1].compare(&ranks[0]).reverse());
    let options = options_with_image(&text.options(), "composefs=x", &["panic=10"]);
    assert!(named_digests(&options).is_empty(), "{options:?}");
    // An entry that is written says what was meant, on as many lines.
    let mut copy = BootEntryText::default();
    copy.push("title", text.get("title").unwrap_or_default());
    copy.push("options", &options);
    let written = copy.to_string();
    assert_eq!(written.lines().count(), 2, "{written:?}");
    assert!(!written.trim_end().contains(|one: char| one.is_control() && one != '\n'), "{written:?}");
    assert!(text.files().all(|file| !file.starts_with('/') && !file.contains('\\')));
}

fn names(bytes: &[u8]) {
    let names = SystemNames::parse(&String::from_utf8_lossy(bytes));
    assert!(
        [names.title, names.version, names.sort_key].into_iter().flatten().all(|text| !text.contains(char::is_control))
    );
}
