use super::*;

fn parse_with(options: Options, text: &str) -> Result<Parsed, DumpError> {
    let mut parser = Parser::new(options);
    for line in text.lines() {
        parser.push_line(line.as_bytes())?;
    }
    parser.check_last_line(text.ends_with('\n'))?;
    parser.finish()
}

fn parse(text: &str) -> Result<Parsed, DumpError> {
    parse_with(Options::default(), text)
}

/// Parses and writes again.
fn round(text: &str) -> String {
    let mut out = Vec::new();
    emit(&parse(text).unwrap().tree, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const ROOT: &str = "/ 0 40755 2 0 0 0 0.0 - - -\n";

#[test]
fn a_canonical_dump_comes_back_as_it_was() {
    let hex = "ab".repeat(32);
    let text = format!(
        "{ROOT}\
         /- 1 100644 1 0 0 0 -5.7 - \\x2d - user.a\\x3d=b\\x3d\n\
         /d\\x20x 0 40755 2 1 2 0 3.0 - - -\n\
         /d\\x20x/big 4097 100644 2 0 0 0 0.0 ab/{} - {hex}\n\
         /d\\x20x/other 4097 100644 1 0 0 0 0.0 some/where - -\n\
         /e 4097 @100644 2 0 0 0 0.0 /d\\x20x/big - {hex}\n\
         /n 0 20644 1 0 0 259 0.0 - - -\n\
         /s 3 120777 1 0 0 0 0.0 a\\\\b - -\n",
        &hex[2..]
    );
    // A link is written with the fields of its target.
    assert_eq!(round(&text), text);
    assert_eq!(round(text.trim_end_matches('\n')), text);
}

#[test]
fn errors_tell_line_field_and_rule() {
    for (text, line, field, words) in [
        ("x", 1, DumpField::Path, "Root node not present"),
        ("/ 0 100644 1 0 0 0 0.0 - - -", 1, DumpField::Mode, "Root must be a directory"),
        ("/ 0 40755 2 0 0 0 0.0 - - -\n\n", 2, DumpField::Path, "Invalid empty path"),
        ("/ 0 40755 2 0 0 0 0.0 - - -\n/a x", 2, DumpField::Size, "Invalid integer x"),
        ("/ 0 40755 2 0 0 0 0 - - -", 1, DumpField::Mtime, "Invalid integer "),
        ("/ 0 40755 2 0 0 0 0.0 - - - a=b c", 1, DumpField::Xattr(1), "Missing = in xattr"),
        ("/ 0 40755 2 0 0 0 0.0 - - - a=b  ", 1, DumpField::Xattr(1), "Missing = in xattr"),
        ("/ 0 40755 2 0 0 0 0.0 - - -\n/f 9 100644 1 0 0 0 0.0 - - abcd", 2, DumpField::Digest, "Invalid digest abcd"),
        ("/ 0 40755 2 0 0 0 0.0 - - -\n/f 9 100644 1 0 0 0 0.0 - -", 2, DumpField::Digest, "Invalid digest "),
        ("", 1, DumpField::Path, "No files in dump file"),
        ("/ 0 @40755 2 0 0 0 0.0 / - -", 1, DumpField::Mode, "Directories can't be hardlinked"),
        // Of two errors the earlier field's: here the name is taken, and the size no number.
        (
            "/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0\n/a x 100644 1 0 0 0 0.0",
            3,
            DumpField::Path,
            "Can't add child",
        ),
        // The content of a symlink is not used, but its length must be what SIZE says, which is not used either.
        (
            "/ 0 40755 2 0 0 0 0.0 - - -\n/s 3 120777 1 0 0 0 0.0 a a -",
            2,
            DumpField::Content,
            "Invalid content size 1, must match size 3",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.field, error.message.as_str()), (line, field, words), "{text:?}: {error}");
    }
    // Their twins: what is next to each refusal is taken.
    for text in [
        "/ 0 40755 2 0 0 0 0.0 - - - a=b ",
        "/ 0 40755 2 0 0 0 0.0",
        "/ 0 40755 2 0 0 0 0.0 - - -\n/f 0 100644 1 0 0 0 0.0",
        "/ 0 40755 2 0 0 0 0.0 - - -\n/f 9 100644 1 0 0 0 0.0 - - -",
        "/ 0 40755 2 0 0 0 0.0 - - -\n/s 3 120777 1 0 0 0 0.0 a abc -",
        "/ 0 40755 2 0 0 0 0.0 - - -\n/s 0 120777 1 0 0 0 0.0 a",
        "/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0\n/b x @100644 1 0 0 0 0.0 /a",
    ] {
        parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    }
}

/// Only the UID as it is written decides, not what is left of it in 32 bits.
#[test]
fn gid_and_rdev_may_be_anything_beside_a_uid_that_is_not_0() {
    let line = |uid: &str, gid: &str, rdev: &str| format!("/ 0 40755 1 {uid} {gid} {rdev} 0.0 - - -\n");
    for uid in ["1", "4294967296", "8589934592", "-4294967296", "4294967297", "99999999999999999999"] {
        for (gid, rdev) in [("x", "0"), ("0", "x"), ("", "x")] {
            let written = round(&line(uid, gid, rdev));
            let uid = match uid {
                "1" | "4294967297" => 1,
                "99999999999999999999" => u32::MAX,
                _ => 0,
            };
            assert!(written.starts_with(&format!("/ 0 40755 1 {uid} 0 0 ")), "{written}");
        }
    }
    for (gid, rdev) in [("x", "0"), ("0", "x")] {
        assert!(parse(&line("0", gid, rdev)).unwrap_err().to_string().contains("Invalid integer x"));
    }
}

#[test]
fn links_resolve_in_any_order_and_never_loop() {
    let file = "/f 0 100644 3 0 0 0 0.0 - - -\n";
    let link = |name: &str, target: &str| format!("/{name} 0 @100644 1 0 0 0 0.0 {target} - -\n");
    let tree = parse(&format!("{ROOT}{}{}{file}", link("b", "/a"), link("a", "f"))).unwrap().tree;
    let names: Vec<_> = tree.children(crate::tree::InodeId::ROOT).collect();
    assert!(names[0].is_link && names[1].is_link && !names[2].is_link);
    assert!(names.iter().all(|e| e.inode == names[2].inode));
    for (links, words) in [
        (link("a", "/b") + &link("b", "/a"), "Too many levels of symbolic links"),
        // The case in which the reference never ends: a tail that leads into a cycle.
        (link("t", "/a") + &link("a", "/b") + &link("b", "/a"), "Too many levels of symbolic links"),
        (link("a", "/a"), "Self-referential hardlink /a"),
        (link("a", "/"), "Directories can't be hardlinked"),
        (link("a", "\\x00"), "Directories can't be hardlinked"),
        (link("a", "/nope"), "No target at /nope for hardlink"),
        (link("a", "/f/x"), "No target at /f/x for hardlink"),
        (link("a", "-"), "No target path for the hardlink"),
    ] {
        let error = parse(&format!("{ROOT}{file}{links}")).unwrap_err();
        assert!(error.message.contains(words), "{links}: {error}");
    }
}

#[test]
fn the_line_of_an_inode_is_known_among_links() {
    let text = format!(
        "{ROOT}/l1 0 @100644 1 0 0 0 0.0 /f - -\n/l2 0 @100644 1 0 0 0 0.0 /f - -\n/f 0 100644 3 0 0 0 0.0 - - -\n\
         /l3 0 @100644 1 0 0 0 0.0 /f - -\n/g 0 100644 1 0 0 0 0.0 - - -\n"
    );
    let Parsed { tree, lines } = parse(&text).unwrap();
    let line_of = |name: &[u8]| lines.line_of(tree.child(crate::tree::InodeId::ROOT, name).unwrap().inode);
    assert_eq!(lines.line_of(crate::tree::InodeId::ROOT), 1);
    assert_eq!((line_of(b"f"), line_of(b"g")), (4, 6));
}

#[test]
fn strict_mode_refuses_what_is_otherwise_taken() {
    let strict = Options { strict: true, ..Options::default() };
    for (line, words) in [
        ("/f 0 100644 1 0 0 5 0.0 - - -\n", "Non-zero devnum on non-device"),
        ("/s 9 120777 1 0 0 0 0.0 t - -\n", "Invalid symlink size 9, must match size 1"),
        ("/s 1 120777 1 0 0 0 0.0 t x -\n", "Symlink cannot have content"),
        ("/f 0 100644 1 0 0 0 0.0 - - -", "Missing trailing newline"),
    ] {
        let text = format!("{ROOT}{line}");
        parse(&text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(parse_with(strict, &text).unwrap_err().message, words);
    }
    parse_with(strict, &format!("{ROOT}/s 1 120777 1 0 0 0 0.0 t - -\n")).unwrap();
}

#[test]
fn sha512_digests_have_their_own_length() {
    let options = Options { algorithm: crate::Algorithm::Sha512, ..Options::default() };
    let line = |digits: usize| format!("{ROOT}/f 9 100644 1 0 0 0 0.0 - - {}\n", "a".repeat(digits));
    parse_with(options, &line(128)).unwrap();
    assert_eq!(parse_with(options, &line(64)).unwrap_err().field, DumpField::Digest);
    // And is not cut to one of SHA-256, as other over-long digests are.
    let error = parse(&line(128)).unwrap_err();
    assert!(error.field == DumpField::Digest && error.rule.contains("SHA-512"), "{error}");
    parse(&line(66)).unwrap();
}
