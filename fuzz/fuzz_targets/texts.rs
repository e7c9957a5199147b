//! Small texts from outside, each with a reader of its own, chosen by the first byte: `m` for `meta.json`, `n` for the
//! name of an image, `o` for mount options, `i` for mountinfo, `x` for patterns and a path, `p` for a policy of images.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::policy::Policy;
use libcomposefs_mount::UnknownOptions;
use libcomposefs_repo::{ImageName, Meta, RefName};
use libcomposefs_scan::Patterns;
use libfuzzer_sys::fuzz_target;

static META: Budget =
    Budget::new("meta.json", Linear { base: 64 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });
static NAME: Budget =
    Budget::new("image name", Linear { base: 16 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 2_000 });
static OPTIONS: Budget =
    Budget::new("mount options", Linear { base: 16 << 10, per_byte: 128 }, Linear { base: 5_000_000, per_byte: 4_000 });
static MOUNTINFO: Budget =
    Budget::new("mountinfo", Linear { base: 16 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 1_000 });
// A pattern becomes an automaton, which is made at once and has a limit of its own.
static PATTERNS: Budget = Budget::new(
    "patterns",
    Linear { base: 8 << 20, per_byte: 16 << 10 },
    Linear { base: 50_000_000, per_byte: 500_000 },
);
static POLICY: Budget =
    Budget::new("policy", Linear { base: 16 << 10, per_byte: 64 }, Linear { base: 5_000_000, per_byte: 2_000 });

fuzz_target!(|input: &[u8]| {
    let Some((kind, text)) = input.split_first() else { return };
    let (budget, read): (_, fn(&[u8])) = match kind {
        b'm' => (&META, meta),
        b'n' => (&NAME, name),
        b'o' => (&OPTIONS, options),
        b'i' => (&MOUNTINFO, mountinfo),
        b'x' => (&PATTERNS, patterns),
        b'p' => (&POLICY, policy),
        _ => return,
    };
    budget.check(text.len(), || read(text));
});

fn meta(text: &[u8]) {
    let Ok(meta) = Meta::parse(text) else { return };
    // Features that are not known are not written for a new repository.
    let again = Meta::parse(&meta.emit()).expect("what is written is read");
    assert_eq!((again.algorithm, again.format), (meta.algorithm, meta.format));
}

fn name(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(name) = RefName::new(text) {
        assert!(name.parts().all(|part| !part.is_empty() && !part.starts_with('.')), "{name:?}");
        assert!(!text.contains(char::is_control), "{name:?}");
    }
    if let Ok(name) = text.parse::<ImageName>() {
        assert_eq!(name.to_string().parse().ok(), Some(name));
    }
}

fn options(text: &[u8]) {
    let text = OsStr::from_bytes(text);
    let strict = libcomposefs_mount::parse(text, UnknownOptions::Refuse);
    let lenient = libcomposefs_mount::parse(text, UnknownOptions::Ignore);
    if let Ok(strict) = strict {
        assert!(!strict.basedirs.is_empty());
        // Strict parsing only refuses more.
        assert_eq!(lenient.ok(), Some(strict));
    }
}

fn mountinfo(text: &[u8]) {
    let mounts = libcomposefs_mount::fuzzing::mounts_in(text);
    assert!(mounts.len() <= text.split(|byte| *byte == b'\n').count());
}

/// One pattern on each line, with `!` before those that include. The path follows a NUL.
fn patterns(text: &[u8]) {
    let (list, path) = text.split_at(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    let Ok(list) = std::str::from_utf8(list) else { return };
    let mut patterns = Patterns::default();
    let mut is_empty = true;
    for line in list.lines() {
        let added = match line.strip_prefix('!') {
            Some(line) => patterns.include(line),
            None => patterns.exclude(line),
        };
        is_empty &= added.is_err();
    }
    assert_eq!(patterns.is_empty(), is_empty);
    for is_directory in [false, true] {
        let is_excluded = patterns.excludes(path.get(1..).unwrap_or_default(), is_directory);
        assert!(!is_excluded || !is_empty);
    }
}

fn policy(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(policy) = text.parse::<Policy>() {
        assert_eq!(policy.to_string().parse().ok(), Some(policy), "{policy}");
    }
}
