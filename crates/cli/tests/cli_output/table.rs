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
/// repository, `$OSTREE` a repository of ostree, `$OCI` an OCI layout, whose image the repository
/// `$RO` has under the name `one`. `$RECIPE` is a recipe that gives `$X` in the image `$N` another owner. `$EMPTY` is
/// an empty directory, `$OUT` and `$NONE` do not exist, and `$UNREADABLE` has a file that `unprivileged` programs
/// cannot open.
pub(crate) const ROWS: &[Row] = &[
    asks("boot check", r#"composefs --repo="$R" boot check "$N""#, r#"composefs --repo="$R" boot check "no-$N""#),
    asks("boot check", r#"composefs --repo="$R" boot check "$N" --json"#, r#"composefs --repo="$BAD" boot check "$N""#),
    Row {
        command: "boot install",
        line: r#"rm -rf "$OUT"; mkdir -p "$OUT/esp"; composefs --repo="$OUT/composefs" init --insecure >/dev/null
            composefs --repo="$OUT/composefs" create "$T2" --name=os >/dev/null
            composefs boot install os --sysroot="$OUT" --esp="$OUT/esp" --no-verity \
                --kernel="$T/big" --initrd="$T/big""#,
        fails: r#"composefs --repo="$R" boot install "$N" --esp="$NONE""#,
        holds: r#"ls "$OUT/esp/loader/entries" | grep -q ^composefs-1-"#,
        undo: r#"rm -r "$OUT""#,
    },
    Row {
        command: "boot install",
        line: r#"rm -rf "$OUT"; mkdir -p "$OUT/esp"; composefs --repo="$OUT/composefs" init --insecure >/dev/null
            composefs --repo="$OUT/composefs" create "$T2" --name=os >/dev/null
            composefs boot install os --sysroot="$OUT" --esp="$OUT/esp" --no-verity \
                --kernel="$T/big" --initrd="$T/big" --json"#,
        fails: r#"composefs boot install "$N" --sysroot="$NONE" --esp="$EMPTY""#,
        holds: r#"ls "$OUT/esp/loader/entries" | grep -q ^composefs-1-"#,
        undo: r#"rm -r "$OUT""#,
    },
    asks(
        "boot list",
        r#"composefs --repo="$R" boot list --esp="$EMPTY""#,
        r#"composefs --repo="$R" boot list --esp="$NONE""#,
    ),
    asks(
        "boot list",
        r#"composefs boot list --json --esp="$EMPTY" --sysroot="$EMPTY""#,
        r#"composefs boot list --esp="$I""#,
    ),
    Row {
        command: "boot bless",
        line: r#"rm -rf "$OUT"; mkdir -p "$OUT/state"
            composefs boot bless --rule='os/*' --serial=41 --sysroot="$OUT" --json"#,
        fails: r#"composefs boot bless --rule="$X" --serial=1 --sysroot="$NONE""#,
        holds: r#"grep -q '"os/\*": 41' "$OUT/state/serials.json""#,
        undo: r#"rm -r "$OUT""#,
    },
    Row {
        command: "boot remove",
        line: r#"rm -rf "$OUT"; mkdir -p "$OUT/esp/loader/entries"
            composefs --repo="$OUT/composefs" init --insecure >/dev/null
            for n in 1 2; do echo "title $n" > "$OUT/esp/loader/entries/composefs-$n-0123456789abcdef.conf"; done
            composefs boot remove composefs-1-0123456789abcdef.conf --sysroot="$OUT" --esp="$OUT/esp" --json"#,
        fails: r#"composefs boot remove "$X" --sysroot="$NONE" --esp="$EMPTY""#,
        holds: r#"[ "$(ls "$OUT/esp/loader/entries")" = composefs-2-0123456789abcdef.conf ]"#,
        undo: r#"rm -r "$OUT""#,
    },
    Row {
        command: "boot rollback",
        line: r#"rm -rf "$OUT"; mkdir -p "$OUT/esp/loader/entries"
            composefs --repo="$OUT/composefs" init --insecure >/dev/null
            d=$(composefs --repo="$OUT/composefs" create "$T2" --name=os)
            echo "options composefs=?$d" > "$OUT/esp/loader/entries/a.conf"
            echo "sort-key a" > "$OUT/esp/loader/entries/b.conf"
            composefs boot rollback --sysroot="$OUT" --esp="$OUT/esp""#,
        fails: r#"composefs boot rollback --sysroot="$NONE" --esp="$EMPTY""#,
        holds: r#"ls "$OUT/esp/loader/entries" | grep -q ^composefs-1-"#,
        undo: r#"rm -r "$OUT""#,
    },
    asks(
        "boot status",
        r#"composefs --repo="$R" boot status --esp="$EMPTY""#,
        r#"composefs --repo="$R" boot status --esp="$NONE""#,
    ),
    asks(
        "boot status",
        r#"composefs boot status --json --esp="$EMPTY" --sysroot="$EMPTY""#,
        r#"composefs boot status --esp="$X""#,
    ),
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
    Row {
        command: "derive",
        line: r#"composefs --repo="$R" derive "$N" --without="/$X" --name=derived"#,
        fails: r#"composefs --repo="$R" derive "$N" --without="/$NONE""#,
        holds: r#"composefs --repo="$R" images -q | grep -qx derived"#,
        undo: r#"composefs --repo="$R" untag derived"#,
    },
    asks(
        "derive",
        r#"composefs --repo="$R" derive --recipe="$RECIPE" --print-digest --json"#,
        r#"composefs --repo="$R" derive --recipe="$NONE""#,
    ),
    asks("df", r#"composefs --repo="$R" df"#, r#"composefs --repo="$NONE" df"#),
    asks("df", r#"composefs --repo="$R" df --json"#, r#"composefs df "$NONE""#),
    asks("diff", r#"composefs diff "$T" "$T2""#, r#"composefs diff "$T" "$NONE""#),
    asks("diff", r#"composefs diff --json "$T" "$T2""#, r#"composefs diff "$I" "$T/$X""#),
    asks("diff", r#"composefs diff "oci:$OCI" "$T2""#, r#"composefs diff "oci:$NONE" "$T2""#),
    asks("diff", r#"composefs diff --all "$I" "$T2""#, r#"unprivileged composefs diff "$I" "$UNREADABLE""#),
    asks("digest", r#"composefs digest "$T/$X" "$I""#, r#"composefs digest "$NONE""#),
    asks("digest", r#"composefs digest --json "$T/$X""#, r#"composefs digest "$T""#),
    Row {
        command: "disk",
        line: r#"mkdir -p "$EMPTY.os/etc" "$EMPTY.os/var"; composefs --repo="$R" create "$EMPTY.os" --name=os >/dev/null
            composefs --repo="$R" disk os "$OUT" --json"#,
        fails: r#"composefs --repo="$R" disk "$N" "$OUT""#,
        holds: r#"[ "$(od -An -c -j512 -N8 "$OUT" | tr -d ' ')" = EFIPART ]"#,
        undo: r#"rm "$OUT"; rm -r "$EMPTY.os"; composefs --repo="$R" untag os"#,
    },
    Row {
        command: "disk",
        line: r#"mkdir -p "$EMPTY.os/etc" "$EMPTY.os/var"; composefs --repo="$R" create "$EMPTY.os" --name=os >/dev/null
            composefs --repo="$R" disk os "$OUT""#,
        fails: r#"composefs --repo="$R" disk "$N" "$X""#,
        holds: r#"[ -s "$OUT" ]"#,
        undo: r#"rm "$OUT"; rm -r "$EMPTY.os"; composefs --repo="$R" untag os"#,
    },
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
    asks("oci bundle", "composefs oci bundle --help", r#"composefs --repo="$RO" oci bundle "$NONE" "$EMPTY""#),
    asks(
        "oci diff",
        r#"composefs --repo="$RO" oci diff one "oci:$OCI""#,
        r#"composefs --repo="$RO" oci diff one "$NONE""#,
    ),
    asks(
        "oci diff",
        r#"composefs --repo="$RO" oci diff one "oci:$OCI" --json"#,
        r#"composefs --repo="$NONE" oci diff one "oci:$OCI""#,
    ),
    asks("oci digest", r#"composefs oci digest "oci:$OCI""#, r#"composefs oci digest "oci:$NONE""#),
    asks("oci digest", r#"composefs oci digest --json "oci:$OCI""#, r#"composefs oci digest "oci:$OCI:$NONE""#),
    Row {
        command: "oci export",
        line: r#"composefs --repo="$RO" oci export one "docker-archive:$OUT""#,
        fails: r#"composefs --repo="$RO" oci export "$NONE" "docker-archive:$OUT""#,
        holds: r#"test -s "$OUT""#,
        undo: r#"rm -f "$OUT""#,
    },
    Row {
        command: "oci export",
        line: r#"composefs --repo="$RO" oci export one "oci-archive:$OUT" --recompress --json"#,
        fails: r#"composefs --repo="$RO" oci export "$NONE" "oci:$OUT""#,
        holds: r#"test -s "$OUT""#,
        undo: r#"rm -f "$OUT""#,
    },
    asks("oci images", r#"composefs --repo="$RO" oci images"#, r#"composefs --repo="$NONE" oci images"#),
    asks("oci images", r#"composefs --repo="$RO" oci images --json"#, r#"composefs --repo="$T" oci images"#),
    asks("oci inspect", r#"composefs --repo="$RO" oci inspect one"#, r#"composefs --repo="$RO" oci inspect "$NONE""#),
    asks(
        "oci inspect",
        r#"composefs --repo="$RO" oci inspect one --json"#,
        r#"composefs --repo="$NONE" oci inspect one"#,
    ),
    asks("oci layers", r#"composefs --repo="$RO" oci layers one"#, r#"composefs --repo="$RO" oci layers "$NONE""#),
    asks("oci layers", r#"composefs --repo="$RO" oci layers one --json"#, r#"composefs --repo="$NONE" oci layers one"#),
    asks(
        "oci mount",
        r#"composefs --repo="$RO" oci mount one "$EMPTY" --dry-run"#,
        r#"composefs --repo="$RO" oci mount "$NONE" "$EMPTY""#,
    ),
    asks(
        "oci mount",
        r#"composefs --repo="$RO" oci mount one "$EMPTY" --dry-run --json"#,
        r#"composefs --repo="$NONE" oci mount one "$EMPTY" --json"#,
    ),
    Row {
        command: "oci pull",
        line: r#"composefs --repo="$RO" oci pull "oci:$OCI:t" --name=two"#,
        fails: r#"composefs --repo="$RO" oci pull "oci:$NONE" --name=two"#,
        holds: r#"composefs --repo="$RO" oci images -q | grep -qx two"#,
        undo: r#"composefs --repo="$RO" oci untag two"#,
    },
    Row {
        command: "oci pull",
        line: r#"composefs --repo="$RO" oci pull "oci:$OCI" --name=two --json"#,
        fails: r#"composefs --repo="$NONE" oci pull "oci:$OCI" --name=two"#,
        holds: r#"composefs --repo="$RO" oci images -q | grep -qx two"#,
        undo: r#"composefs --repo="$RO" oci untag two"#,
    },
    asks(
        "oci push",
        "composefs oci push --help",
        r#"composefs --repo="$RO" oci push "$NONE" docker://localhost:1/none --tls-verify=false"#,
    ),
    asks("oci run", "composefs oci run --help", r#"composefs --repo="$RO" oci run "$NONE" || exit 1"#),
    Row {
        command: "oci tag",
        line: r#"composefs --repo="$RO" oci tag one two"#,
        fails: r#"composefs --repo="$RO" oci tag "$NONE" two"#,
        holds: r#"composefs --repo="$RO" oci images -q | grep -qx two"#,
        undo: r#"composefs --repo="$RO" oci untag two"#,
    },
    Row {
        command: "oci tag",
        line: r#"composefs --repo="$RO" oci tag one two --json"#,
        fails: r#"composefs --repo="$NONE" oci tag one two"#,
        holds: r#"composefs --repo="$RO" oci images -q | grep -qx two"#,
        undo: r#"composefs --repo="$RO" oci untag two"#,
    },
    Row {
        command: "oci untag",
        line: r#"composefs --repo="$RO" oci untag one --json"#,
        fails: r#"composefs --repo="$NONE" oci untag one"#,
        holds: r#"! composefs --repo="$RO" oci images -q | grep -qx one"#,
        undo: r#"composefs --repo="$RO" oci pull "oci:$OCI" --name=one"#,
    },
    Row {
        command: "oci untag",
        line: r#"composefs --repo="$RO" oci untag one"#,
        fails: r#"composefs --repo="$RO" oci untag "$NONE""#,
        holds: r#"! composefs --repo="$RO" oci images -q | grep -qx one"#,
        undo: r#"composefs --repo="$RO" oci pull "oci:$OCI" --name=one"#,
    },
    asks("oci verify", r#"composefs --repo="$RO" oci verify one"#, r#"composefs --repo="$RO" oci verify "$NONE""#),
    asks("oci verify", r#"composefs --repo="$RO" oci verify one --json"#, r#"composefs --repo="$NONE" oci verify one"#),
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
    Row {
        command: "plan",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs --repo="$R" plan ./remote "$N""#,
        fails: r#"composefs --repo="$R" plan "./$NONE" "$N""#,
        holds: "test -d remote/packs",
        undo: "rm -r remote",
    },
    Row {
        command: "plan",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs --repo="$R" plan ./remote "$N" --json"#,
        fails: r#"composefs --repo="$R" plan "$R" "$N""#,
        holds: "test -d remote/packs",
        undo: "rm -r remote",
    },
    Row {
        command: "pull",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs --repo="$R" pull ./remote "$N""#,
        fails: r#"composefs --repo="$R" pull "./$NONE" "$N""#,
        holds: "test -d remote/packs",
        undo: "rm -r remote",
    },
    Row {
        command: "pull",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs --repo="$R" pull ./remote "$N" --json"#,
        fails: r#"composefs --repo="$R" pull "$NONE" "$N""#,
        holds: "test -d remote/packs",
        undo: "rm -r remote",
    },
    Row {
        command: "push",
        line: r#"composefs --repo="$R" push "$N" ./remote"#,
        fails: r#"composefs --repo="$R" push "no-$N" ./remote"#,
        holds: "test -d remote/refs",
        undo: "rm -r remote",
    },
    Row {
        command: "push",
        line: r#"composefs --repo="$R" push "$N" ./remote --as=other --json"#,
        fails: r#"composefs --repo="$R" push "$N" "$R""#,
        holds: "test -f remote/refs/other",
        undo: "rm -r remote",
    },
    Row {
        command: "remote add",
        line: r#"composefs --repo="$R" remote add backup ./remote --json"#,
        fails: r#"composefs --repo="$R" remote add backup "$NONE""#,
        holds: r#"composefs --repo="$R" remote list | grep -q ^backup"#,
        undo: r#"composefs --repo="$R" remote remove backup"#,
    },
    Row {
        command: "remote gc",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs remote gc ./remote"#,
        fails: r#"composefs remote gc "./$NONE""#,
        holds: r#"composefs remote list ./remote | grep -q ."#,
        undo: "rm -r remote",
    },
    asks("remote list", r#"composefs --repo="$R" remote list --json"#, r#"composefs --repo="$NONE" remote list"#),
    Row {
        command: "remote list",
        line: r#"composefs --repo="$R" push "$N" ./remote >/dev/null; composefs remote list ./remote"#,
        fails: r#"composefs remote list "./$NONE""#,
        holds: "test -d remote/packs",
        undo: "rm -r remote",
    },
    Row {
        command: "remote remove",
        line: r#"composefs --repo="$R" remote add backup ./remote; composefs --repo="$R" remote remove backup --json"#,
        fails: r#"composefs --repo="$R" remote remove "$NONE""#,
        holds: r#"! composefs --repo="$R" remote list | grep -q ^backup"#,
        undo: "",
    },
    Row {
        command: "remote serve",
        line: r#"printf 'composefs-remote\1\0\1\0' | composefs remote serve --stdio "$EMPTY""#,
        fails: r#"composefs remote serve --stdio "$R""#,
        holds: "",
        undo: "",
    },
    Row {
        command: "repack",
        line: r#"composefs --repo="$R" repack --cold "$N""#,
        fails: r#"composefs --repo="$R" repack --cold "no-$N""#,
        holds: r#"composefs --repo="$R" images | grep -q " cold $N""#,
        undo: r#"composefs --repo="$R" repack --warm "$N" > /dev/null"#,
    },
    asks("repack", r#"composefs --repo="$R" repack --warm "$N""#, r#"composefs --repo="$R" repack --warm "no-$N""#),
    asks("run", "composefs run --help", r#"composefs run "$NONE" -- true || exit 1"#),
    asks("trace", "composefs trace --help", r#"composefs trace "$NONE" --output="$T" -- true || exit 1"#),
    asks("ipe-policy", r#"composefs --repo="$R" ipe-policy "$N" --only=/"#, r#"composefs ipe-policy "$NONE""#),
    asks(
        "ipe-policy",
        r#"composefs --repo="$R" ipe-policy "$N" --json"#,
        r#"composefs --repo="$R" ipe-policy "$N" --json --only=/none"#,
    ),
    asks("seal", "composefs seal --help", r#"composefs seal "$NONE" "$T""#),
    asks("seal", "composefs seal --help", r#"composefs seal --json "$NONE""#),
    asks("serve-objects", "composefs serve-objects --help", r#"composefs serve-objects "$NONE" "$EMPTY""#),
    asks("fill", "composefs fill --help", r#"composefs fill "$EMPTY""#),
    asks("fill", "composefs fill --help", r#"composefs fill --wait --json "$NONE""#),
    asks("status", "composefs status --help", r#"composefs status "$EMPTY""#),
    asks("status", "composefs status --help", r#"composefs status --json "$NONE""#),
    asks("mount", "composefs mount --help", r#"composefs --repo="$R" mount --lazy="./$NONE" "$N" "$EMPTY""#),
    asks("composefs-fuse", "composefs-fuse --help", r#"composefs-fuse -o source="$NONE" "$EMPTY""#),
    asks(
        "prove",
        r#"d=$(composefs derive "$I" --recipe="$RECIPE" --print-digest)
        composefs prove "$d" --recipe="$RECIPE" --base="$I""#,
        r#"composefs prove "$NONE" --recipe="$RECIPE" --base="$I""#,
    ),
    asks("prove", r#"composefs --repo="$R" prove "$N" --recipe="$RECIPE""#, r#"composefs prove "$I" --recipe="$I""#),
    asks(
        "prove",
        r#"composefs --repo="$R" prove "$N" --json --recipe="$RECIPE""#,
        r#"composefs prove --recipe="$NONE" x"#,
    ),
    asks("sign", r#"composefs --repo="$R" sign "$N" --print"#, r#"composefs --repo="$R" sign "$NONE" --print"#),
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
    asks("trust allow-older", "composefs trust allow-older --help", r#"composefs trust allow-older "$NONE""#),
    asks("trust check", r#"composefs --repo="$R" trust check "$N""#, r#"composefs --repo="$R" trust check "$NONE""#),
    asks(
        "trust check",
        r#"composefs --repo="$R" trust check --json "$N""#,
        r#"composefs --repo="$NONE" trust check one"#,
    ),
    Row {
        command: "trust import-policy",
        line: r#"mkdir -p "$OUT"; echo '{"default": [{"type": "reject"}]}' > "$OUT/policy.json"
        composefs trust import-policy "$OUT/policy.json" --json"#,
        fails: r#"composefs trust import-policy "$NONE""#,
        holds: "",
        undo: r#"rm -rf "$OUT""#,
    },
    Row {
        command: "trust show",
        line: "composefs trust show --json",
        fails: r#"mkdir -p "$OUT/composefs"; echo x > "$OUT/composefs/policy.toml"
        XDG_CONFIG_HOME=$(realpath "$OUT") composefs trust show"#,
        holds: "",
        undo: r#"rm -rf "$OUT""#,
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
