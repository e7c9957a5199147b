//! Table of every command, for the tests of output. A test in `src/commands` compares it with the list of commands, so
//! that none is missing.

/// A command, as lines for a shell in the prepared directory.
pub(crate) struct Row {
    /// Words that name the command: `composefs` is omitted, other programs are named.
    pub(crate) command: &'static str,
    /// Line that runs the command successfully.
    pub(crate) line: &'static str,
    /// Line that makes the command fail.
    pub(crate) fails: &'static str,
    /// Shell condition that is true if the command did its work, whatever happened to its output.
    pub(crate) holds: &'static str,
    /// Line that restores the directory.
    pub(crate) undo: &'static str,
}

/// Returns the row of a command that changes nothing.
const fn asks(command: &'static str, line: &'static str, fails: &'static str) -> Row {
    Row { command, line, fails, holds: "", undo: "" }
}

/// The prepared directory has a tree `$T`, its image `$I` with the objects `$O`, a second tree `$T2`, and a repository
/// `$R` with the image of `$T` under the name `$N`. `$X` is the name of a file in the tree, `$BAD` a damaged
/// repository, `$OSTREE` a repository of ostree. `$EMPTY` is an empty directory, `$OUT` and `$NONE` do not exist, and
/// `$UNREADABLE` has a file that `unprivileged` programs cannot open.
pub(crate) const ROWS: &[Row] = &[
    asks("cat", r#"composefs cat --basedir="$O" "$I" /big"#, r#"composefs cat --basedir="$NONE" "$I" "/$NONE""#),
    asks("cat", r#"composefs cat --json --basedir="$O" "$I" "/$X""#, r#"composefs cat "$I" "/$X" /big"#),
    asks("cat", r#"composefs --repo="$R" cat "$N" /big"#, r#"composefs --repo="$R" cat "no-$N" /big"#),
    asks("check", r#"composefs check --basedir="$O" "$I""#, r#"composefs check --basedir="$NONE" "$I""#),
    asks("check", r#"composefs check --json --basedir="$O" "$I""#, r#"composefs check "$T""#),
    asks("check", r#"composefs check --basedir="$EMPTY" "$I""#, r#"composefs check "$NONE""#),
    asks("completion", "composefs completion bash", r#"composefs completion "$NONE""#),
    Row {
        command: "create",
        line: r#"composefs --repo="$R" create "$T2" --name=two"#,
        fails: r#"unprivileged composefs --repo="$R" create "$UNREADABLE""#,
        holds: r#"composefs --repo="$R" images -q | grep -qx two"#,
        undo: r#"composefs --repo="$R" untag two"#,
    },
    Row {
        command: "create",
        line: r#"composefs --repo="$R" create "$T2" --name=two --json"#,
        fails: r#"composefs --repo="$NONE" create "$T""#,
        holds: r#"composefs --repo="$R" images -q | grep -qx two"#,
        undo: r#"composefs --repo="$R" untag two"#,
    },
    asks("df", r#"composefs --repo="$R" df"#, r#"composefs --repo="$NONE" df"#),
    asks("df", r#"composefs --repo="$R" df --json"#, r#"composefs df "$NONE""#),
    asks("diff", r#"composefs diff "$T" "$T2""#, r#"composefs diff "$T" "$NONE""#),
    asks("diff", r#"composefs diff --json "$T" "$T2""#, r#"composefs diff "$I" "$T/$X""#),
    asks("diff", r#"composefs diff --all "$I" "$T2""#, r#"unprivileged composefs diff "$I" "$UNREADABLE""#),
    asks("digest", r#"composefs digest "$T/$X" "$I""#, r#"composefs digest "$NONE""#),
    asks("digest", r#"composefs digest --json "$T/$X""#, r#"composefs digest "$T""#),
    asks("doctor", r#"composefs --repo="$R" doctor "$EMPTY""#, r#"composefs doctor "$NONE""#),
    asks("doctor", r#"composefs doctor --json "$EMPTY""#, r#"composefs --repo="$NONE" doctor"#),
    asks("du", r#"composefs du --basedir="$O" "$I" "$I""#, r#"composefs du "$NONE""#),
    asks("du", r#"composefs --repo="$R" du "$N""#, r#"composefs --repo="$NONE" du "$N""#),
    asks("du", r#"composefs du --json "$I""#, r#"composefs du --basedir="$NONE" "$I""#),
    asks("explain-digest", r#"composefs explain-digest "$T" --list"#, r#"composefs explain-digest "$NONE""#),
    asks(
        "explain-digest",
        r#"composefs explain-digest "$T" --against="$I""#,
        r#"composefs explain-digest "$T" --against="$NONE""#,
    ),
    asks(
        "explain-digest",
        r#"composefs explain-digest --json "$T2" --against="$I""#,
        r#"unprivileged composefs explain-digest "$UNREADABLE""#,
    ),
    asks("export", r#"composefs --repo="$R" export "$N""#, r#"composefs --repo="$R" export "$NONE""#),
    Row {
        command: "export",
        line: r#"composefs --repo="$R" export "$N" --output=bundle --json"#,
        fails: r#"composefs --repo="$R" export "$N" --output="$NONE/x""#,
        holds: r#"composefs --repo="$R" import bundle"#,
        undo: "rm bundle",
    },
    Row {
        command: "extract",
        line: r#"composefs extract "$I" "$OUT" --basedir="$O" --json"#,
        fails: r#"composefs extract "$I" "$T" --basedir="$O""#,
        holds: r#"cmp "$OUT/big" "$T/big""#,
        undo: r#"rm -r "$OUT""#,
    },
    Row {
        command: "extract",
        line: r#"composefs extract "$I" "$OUT""#,
        fails: r#"composefs extract "$I" "$OUT" "/$NONE""#,
        holds: r#"test -e "$OUT/$X""#,
        undo: r#"rm -r "$OUT""#,
    },
    asks("find", r#"composefs find "$I""#, r#"composefs find "$NONE""#),
    asks("find", r#"composefs find -l "$I" /"#, r#"composefs find "$I" "/$NONE""#),
    asks("find", r#"composefs find --json "$I""#, r#"composefs find "$I" --newer "$NONE""#),
    asks("fsck", r#"composefs --repo="$R" fsck"#, r#"composefs --repo="$NONE" fsck"#),
    asks("fsck", r#"composefs --repo="$R" fsck --json"#, r#"composefs --repo="$T" fsck"#),
    asks("fsck", r#"composefs --repo="$BAD" fsck"#, r#"composefs --repo="$BAD" fsck --repair --from="$NONE""#),
    asks("fsck", r#"composefs --repo="$BAD" fsck --json"#, r#"composefs --repo="$BAD" fsck --from="$NONE""#),
    Row {
        command: "gc",
        line: r#"composefs --repo="$R" create "$T2" >/dev/null; composefs --repo="$R" gc --grace=0"#,
        fails: r#"composefs --repo="$NONE" gc"#,
        holds: r#"test "$(composefs --repo="$R" images | wc -l)" = 1"#,
        undo: "",
    },
    asks("gc", r#"composefs --repo="$R" gc --json"#, r#"composefs --repo="$R" gc --grace="$NONE""#),
    asks("gc", r#"composefs --repo="$BAD" gc --dry-run"#, r#"composefs --repo="$BAD" gc --dry-run --json"#),
    asks("images", r#"composefs --repo="$R" images"#, r#"composefs --repo="$NONE" images"#),
    asks("images", r#"composefs --repo="$R" images --json"#, r#"composefs --repo="$BAD" images"#),
    asks("images", r#"composefs --repo="$R" images --objects"#, r#"composefs --repo="$BAD" images --json"#),
    Row {
        command: "import",
        line: r#"composefs --repo="$R" import "$I" --basedir="$O" --name=two"#,
        fails: r#"composefs --repo="$R" import "$T/$X""#,
        holds: r#"composefs --repo="$R" images -q | grep -qx two"#,
        undo: r#"composefs --repo="$R" untag two"#,
    },
    asks(
        "import",
        r#"composefs --repo="$R" import "$I" --basedir="$O" --json"#,
        r#"composefs --repo="$R" import "$NONE""#,
    ),
    Row {
        command: "init",
        line: "composefs init --insecure new --json",
        fails: r#"composefs init "$T""#,
        holds: "composefs --repo=new fsck",
        undo: "rm -r new",
    },
    asks("ls", r#"composefs ls "$I""#, r#"composefs ls "$I" "/$NONE""#),
    asks("ls", r#"composefs ls -lR "$I""#, r#"composefs ls "$NONE""#),
    asks("ls", r#"composefs ls --json "$I""#, r#"composefs ls "$T/$X""#),
    Row {
        command: "man-pages",
        line: "composefs man-pages man",
        fails: r#"composefs man-pages "$T/$X""#,
        holds: "test -s man/composefs-ls.1",
        undo: "rm -r man",
    },
    asks(
        "mount",
        r#"composefs mount "$I" "$EMPTY" -o basedir="$O" --dry-run"#,
        r#"composefs mount "$I" "$NONE" -o basedir="$O""#,
    ),
    asks(
        "mount",
        r#"composefs --repo="$R" mount "$N" "$EMPTY" --dry-run --json"#,
        r#"composefs mount "$NONE" "$EMPTY" -o basedir="$O" --json"#,
    ),
    asks(
        "mount",
        r#"composefs mount "$I" "$EMPTY" -o basedir="$O" --dry-run --json"#,
        r#"composefs mount "$I" "$EMPTY" -o "$NONE""#,
    ),
    asks("mounts", "composefs mounts --json", r#"composefs --repo="$NONE" mounts"#),
    asks("ostree image", r#"composefs ostree image "$OSTREE" zt"#, r#"composefs ostree image "$OSTREE" "$NONE""#),
    asks("ostree image", r#"composefs ostree image "$OSTREE" zt --json"#, r#"composefs ostree image "$NONE" zt"#),
    Row {
        command: "ostree import",
        line: r#"composefs --repo="$R" ostree import "$OSTREE" zt --name=two"#,
        fails: r#"composefs --repo="$R" ostree import "$OSTREE" "$NONE""#,
        holds: r#"composefs --repo="$R" images -q | grep -qx two"#,
        undo: r#"composefs --repo="$R" untag two"#,
    },
    asks("ostree verify", r#"composefs ostree verify "$OSTREE" zt"#, r#"composefs ostree verify "$NONE" zt"#),
    asks(
        "ostree verify",
        r#"composefs ostree verify "$OSTREE" zt --json"#,
        r#"composefs ostree verify "$OSTREE" "$NONE""#,
    ),
    asks("seal", "composefs seal --help", r#"composefs seal "$NONE" "$T""#),
    asks("seal", "composefs seal --help", r#"composefs seal --json "$NONE""#),
    asks("stat", r#"composefs stat "$I""#, r#"composefs stat "$I" "/$NONE""#),
    asks("stat", r#"composefs stat "$I" "/$X" "/link""#, r#"composefs stat "$NONE""#),
    asks("stat", r#"composefs stat --json "$I" "/$X" "/link""#, r#"composefs stat --json "$I" "/$NONE""#),
    asks("sync", r#"composefs --repo="$R" sync "$R""#, r#"composefs --repo="$R" sync "$NONE""#),
    asks("sync", r#"composefs --repo="$R" sync "$R" "$N" --json"#, r#"composefs --repo="$R" sync "$R" "$NONE""#),
    Row {
        command: "tag",
        line: r#"composefs --repo="$R" tag "$N" two --json"#,
        fails: r#"composefs --repo="$R" tag "$NONE" two"#,
        holds: r#"composefs --repo="$R" images -q | grep -qx two"#,
        undo: r#"composefs --repo="$R" untag two"#,
    },
    asks("umount", "composefs umount --help", r#"composefs umount "$NONE""#),
    Row {
        command: "untag",
        line: r#"composefs --repo="$R" tag "$N" two; composefs --repo="$R" untag two --json"#,
        fails: r#"composefs --repo="$R" untag "$NONE""#,
        holds: r#"! composefs --repo="$R" images -q | grep -qx two"#,
        undo: "",
    },
    asks("why", r#"composefs --repo="$R" why $(composefs digest "$T/big")"#, r#"composefs --repo="$R" why "$NONE""#),
    asks(
        "why",
        r#"composefs --repo="$R" why $(composefs digest "$T/big") --json"#,
        r#"composefs --repo="$NONE" why $(composefs digest "$I")"#,
    ),
    // Programs with other names.
    asks("mkcomposefs", r#"mkcomposefs "$T" -"#, r#"mkcomposefs "$NONE" image"#),
    asks("mkcomposefs", r#"mkcomposefs --print-digest-only "$T""#, r#"unprivileged mkcomposefs "$UNREADABLE" image"#),
    Row {
        command: "mkcomposefs",
        line: r#"mkcomposefs --print-digest "$T" image"#,
        fails: r#"mkcomposefs "$T" "$NONE/image""#,
        holds: "composefs check image",
        undo: "rm image",
    },
    asks("mkcomposefs", "mkcomposefs --help", r#"mkcomposefs --digest-store="$T/$X" "$T" image"#),
    asks("mkcomposefs", "mkcomposefs --version", r#"mkcomposefs --from-file "$T/$X" image"#),
    asks("mkcomposefs", "mkcomposefs --help", r#"mkcomposefs "--$NONE" a b"#),
    asks("composefs-info", r#"composefs-info ls "$I""#, r#"composefs-info ls "$NONE""#),
    asks("composefs-info", r#"composefs-info dump "$I""#, r#"composefs-info "$NONE" "$I""#),
    asks("composefs-info", r#"composefs-info objects "$I""#, r#"composefs-info --filter="$NONE""#),
    asks(
        "composefs-info",
        r#"composefs-info --basedir="$EMPTY" missing-objects "$I""#,
        r#"composefs-info --basedir="$NONE" missing-objects "$I""#,
    ),
    asks("composefs-info", r#"composefs-info measure-file "$I""#, r#"composefs-info measure-file "$NONE""#),
    asks("composefs-info", "composefs-info --help", r#"composefs-info "--$NONE""#),
    Row {
        command: "composefs-dump",
        line: r#"composefs-dump "$I" again"#,
        fails: r#"composefs-dump "$NONE" again"#,
        holds: r#"cmp "$I" again"#,
        undo: "rm again",
    },
    asks("composefs-dump", "composefs-dump --help", r#"composefs-dump "$I" "$NONE/again""#),
    asks("composefs-dump", "composefs-dump --version", r#"composefs-dump "$T/$X" again"#),
    asks(
        "mount.composefs",
        r#"mount.composefs -fv "$I" "$EMPTY" -o basedir="$O""#,
        r#"mount.composefs "$NONE" "$EMPTY" -o basedir="$O""#,
    ),
    asks("mount.composefs", "mount.composefs -h", r#"mount.composefs "$I" "$EMPTY" -o "$NONE""#),
    asks("mount.composefs", "mount.composefs --help", r#"mount.composefs -t "$NONE" "$I" "$EMPTY""#),
    // The program `composefs` itself.
    asks("", "composefs --help", r#"composefs "$NONE""#),
    asks("", "composefs --version", r#"composefs "--$NONE""#),
    asks("", "composefs help ls", r#"composefs ls --"$NONE""#),
    asks("", "COMPLETE=bash composefs", r#"COMPLETE="$NONE" composefs"#),
    asks(
        "",
        r#"COMPLETE=bash _CLAP_COMPLETE_INDEX=1 composefs -- composefs c"#,
        r#"composefs --repo="$R" create "$T" --name="$X""#,
    ),
];
