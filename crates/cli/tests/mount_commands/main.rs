//! `mount.composefs` as called by scripts and mount(8), `composefs mount` and `composefs umount`.
//!
//! Mounts are created in a mount namespace of the test, in which mount(8) finds the helper in /sbin without installing
//! anything on the machine.

mod fixture;
mod fuse;
mod layers;
mod run;
mod spec;
mod statfs;

use libcomposefs_testkit::skip;
use libtest_mimic::{Arguments, Failed};

use fixture::{OBJECT, Place, no_mounts};

struct Case {
    name: &'static str,
    mounts: bool,
    run: fn(&Place),
}

const CASES: &[Case] = &[
    Case { name: "the_helper_explains_itself", mounts: false, run: the_helper_explains_itself },
    Case { name: "every_failure_of_the_helper_is_1", mounts: false, run: every_failure_of_the_helper_is_1 },
    Case { name: "nofail_forgives_a_missing_image_only", mounts: false, run: nofail_forgives_a_missing_image_only },
    Case { name: "fake_checks_and_mounts_nothing", mounts: false, run: fake_checks_and_mounts_nothing },
    Case { name: "dry_run_prints_the_plan", mounts: false, run: dry_run_prints_the_plan },
    Case { name: "the_spec_is_as_documented", mounts: false, run: spec::is_as_documented },
    Case { name: "a_spec_that_cannot_be_printed", mounts: false, run: spec::cannot_be_printed },
    Case { name: "mount_8_makes_the_mounts_of_a_spec", mounts: true, run: spec::mount_8_makes_the_mounts },
    Case { name: "the_image_alone_is_mounted", mounts: true, run: spec::the_image_alone_is_mounted },
    Case { name: "composefs_tells_usage_from_failure", mounts: false, run: composefs_tells_usage_from_failure },
    Case { name: "only_files_are_taken_for_images", mounts: false, run: only_files_are_taken_for_images },
    Case { name: "a_digest_of_another_image_is_refused", mounts: false, run: a_digest_of_another_image_is_refused },
    Case { name: "mount_8_finds_the_helper", mounts: true, run: mount_8_finds_the_helper },
    Case { name: "an_fstab_line_mounts", mounts: true, run: an_fstab_line_mounts },
    Case { name: "an_fstab_line_mounts_lazily", mounts: true, run: an_fstab_line_mounts_lazily },
    Case { name: "quoted_options_mount", mounts: true, run: quoted_options_mount },
    Case { name: "the_mount_point_is_looked_up_once", mounts: true, run: the_mount_point_is_looked_up_once },
    Case { name: "composefs_mounts_and_unmounts", mounts: true, run: composefs_mounts_and_unmounts },
    Case { name: "files_are_read_ahead_in_the_background", mounts: true, run: files_are_read_ahead },
    Case { name: "a_mount_is_compared_with_its_image", mounts: true, run: a_mount_is_compared_with_its_image },
    Case { name: "statfs_is_of_the_objects", mounts: true, run: statfs::it_is_of_the_objects },
    Case { name: "a_statfs_layer_adds_no_names", mounts: true, run: statfs::no_names_are_added },
    Case { name: "statfs_without_a_place_is_refused", mounts: true, run: statfs::without_a_place },
    Case { name: "a_report_that_cannot_be_printed", mounts: true, run: a_report_that_cannot_be_printed },
    Case { name: "the_helper_mounts_in_another_namespace", mounts: true, run: another_namespace },
    Case { name: "a_foreign_proc_leads_nowhere", mounts: true, run: a_foreign_proc_leads_nowhere },
    Case { name: "composefs_fuse_explains_itself", mounts: false, run: fuse::the_program_explains_itself },
    Case { name: "the_way_is_said_before", mounts: false, run: fuse::the_way_is_said_before },
];

/// Cases that need FUSE too, and whether they need `fusermount3`.
const FUSE_CASES: &[(Case, bool)] = &[
    (Case { name: "fuse_serves_in_the_background", mounts: true, run: fuse::it_serves_in_the_background }, false),
    (Case { name: "fuse_serves_no_damage", mounts: true, run: fuse::damage_is_not_served }, false),
    (Case { name: "fuse_is_equal_to_the_kernel", mounts: true, run: fuse::it_is_equal_to_the_kernels_mount }, false),
    (Case { name: "a_killed_fuse_server_answers_nothing", mounts: true, run: fuse::a_killed_server }, false),
    (Case { name: "fuse_servers_end_with_their_namespace", mounts: true, run: fuse::a_namespace_ends }, false),
    (Case { name: "gc_keeps_what_fuse_serves", mounts: true, run: fuse::gc_keeps_what_is_served }, false),
    (Case { name: "the_kernel_reads_served_objects", mounts: true, run: fuse::objects_are_served }, false),
    (Case { name: "a_user_mounts_by_fuse", mounts: true, run: fuse::a_user_mounts }, true),
];

/// Cases that need a kernel that joins served layers too.
const LAYER_CASES: &[Case] = &[
    Case { name: "layers_are_equal_to_the_kernel", mounts: true, run: layers::they_are_equal_to_the_kernels_mount },
    Case { name: "changes_are_stored_above_layers", mounts: true, run: layers::changes_are_stored_above },
    Case { name: "layers_serve_no_damage", mounts: true, run: layers::damage_and_death },
    Case { name: "layers_that_cannot_be_joined", mounts: true, run: layers::what_cannot_be_joined },
    Case { name: "a_user_joins_layers", mounts: true, run: layers::a_user_joins_layers },
    Case { name: "root_runs_a_command", mounts: true, run: run::as_root },
    Case { name: "a_user_runs_a_command", mounts: true, run: run::as_a_user },
];

fn main() {
    let arguments = Arguments::from_args();
    let unable = no_mounts();
    let no_fuse = unable.clone().or_else(libcomposefs_testkit::fuse::unavailable);
    let no_user = no_fuse.clone().or_else(fuse::no_user_mounts);
    let no_layers = no_fuse.clone().or_else(layers::no_layers);
    let fuse_cases = FUSE_CASES.iter().map(|(case, is_user)| (case, if *is_user { &no_user } else { &no_fuse }));
    let trials = CASES
        .iter()
        .map(|case| (case, &unable))
        .chain(fuse_cases)
        .chain(LAYER_CASES.iter().map(|case| (case, &no_layers)))
        .map(|(case, unable)| {
            let unmet = unable.clone().filter(|_| case.mounts);
            let run = case.run;
            skip::trial(case.name, unmet.as_deref(), move || {
                let place = Place::new().map_err(|error| Failed::from(format!("no scratch place: {error}")))?;
                run(&place);
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn the_helper_explains_itself(place: &Place) {
    for line in ["mount.composefs -h", "mount.composefs image mnt -h"] {
        let usage = place.sh(line).succeeds();
        assert!(usage.starts_with("usage: mount.composefs [-"), "{usage}");
        for option in [
            "basedir=",
            "digest=",
            "verity_check=",
            "tryverity",
            "idmap=",
            "upperdir",
            "workdir",
            "readahead=",
            "statfs=",
            "ro",
        ] {
            assert!(usage.contains(option), "{option} is missing");
        }
    }
}

fn every_failure_of_the_helper_is_1(place: &Place) {
    for (line, message) in [
        ("", "No source path specified"),
        ("image", "No mount path specified"),
        ("image mnt extra -o basedir=objects", "Too many arguments"),
        ("-Q image mnt", "invalid option -- 'Q'"),
        ("image mnt -o", "option requires an argument -- 'o'"),
        ("-t xfs image mnt", "mount.composefs: Unsupported fs type 'xfs'"),
        ("image mnt", "No object dirs specified"),
        ("image mnt -o basedir=objects -o ro", "No object dirs specified"),
        ("image mnt -o basedir=", "mount.composefs: Value for basedir option has incorrect format"),
        ("image mnt -o basedir", "mount.composefs: No value specified for basedir option"),
        ("image mnt -o foo,basedir=objects", "mount.composefs: Unsupported option foo"),
        ("image mnt -o basedir=objects,upperdir=x", "Both workdir and upperdir must be specified if used"),
        ("image mnt -o basedir=objects,digest=", "Invalid argument"),
        ("image mnt -o basedir=objects,verity_check=1,verity", "verity_check=1"),
        ("image mnt -o basedir=objects,readahead=much", "mount.composefs: Invalid argument for readahead option"),
        ("missing mnt -o basedir=objects", "mount.composefs: Failed to open missing: No such file or directory"),
        ("objects mnt -o basedir=objects", "Failed to mount composefs objects: Is a directory"),
        ("/dev/null mnt -o basedir=objects", "Failed to mount composefs /dev/null: Invalid argument"),
    ] {
        let error = place.sh(&format!("mount.composefs {line}")).fails(1);
        assert!(error.contains(message), "{line}: {error}");
    }
}

fn nofail_forgives_a_missing_image_only(place: &Place) {
    assert_eq!(place.sh("mount.composefs missing mnt -o basedir=objects,nofail").succeeds(), "");
    place.sh("mount.composefs missing/image mnt -o basedir=objects,nofail").succeeds();
    place.sh("mount.composefs missing mnt -o basedir=objects").fails(1);
    place.sh("mount.composefs /dev/null mnt -o basedir=objects,nofail").fails(1);
    place.sh("composefs mount missing mnt -o basedir=objects,nofail").succeeds();
}

fn fake_checks_and_mounts_nothing(place: &Place) {
    assert_eq!(place.sh("mount.composefs -f image mnt -o basedir=objects").succeeds(), "");
    assert!(place.sh("mount.composefs -fv image mnt -o basedir=objects").succeeds().contains("datadir+=objects"));
    place.sh("mount.composefs -f image mnt -o basedir=objects,foo").fails(1);
    place.sh("mount.composefs -sf image mnt -o basedir=objects,foo").succeeds();
    place.sh("mount.composefs -f /dev/null mnt -o basedir=objects").fails(1);
    let digest = "ab".repeat(32);
    let error = place.sh(&format!("mount.composefs -f image mnt -o basedir=objects,digest={digest}")).fails(1);
    assert!(error.contains("Failed to mount composefs image: Image has no fs-verity"), "{error}");
    assert!(error.contains("\nremedy: "), "{error}");
}

fn dry_run_prints_the_plan(place: &Place) {
    let plan = place.sh("composefs mount image mnt -o basedir=objects -o noatime,verity_check=2 --dry-run").succeeds();
    for line in [
        "image    image\n",
        "datadir+=objects\n",
        "verity=require\n",
        "read ahead up to 32 MiB\n",
        "mount    mnt (ro,noatime)\n",
    ] {
        assert!(plan.contains(line), "{line:?} is missing in {plan}");
    }
    let json = place.sh("composefs mount image mnt -o basedir=objects:p,readahead=8M --dry-run --json").succeeds();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["plan"]["basedirs"], serde_json::json!(["objects", "p"]));
    assert_eq!(json["plan"]["readahead"], 8 << 20);
    assert_eq!(json["mounted"], serde_json::Value::Null);
}

fn composefs_tells_usage_from_failure(place: &Place) {
    place.sh("composefs mount --frobnicate").fails(2);
    place.sh("composefs").fails(2);
    for command in ["composefs --help", "composefs mount --help", "composefs umount --help"] {
        assert!(place.sh(command).succeeds().contains("Examples:\n"), "{command}");
    }
    let error = place.sh("composefs umount mnt").fails(1);
    assert!(error.contains("not a mount point"), "{error}");
}

fn mount_8_finds_the_helper(place: &Place) {
    let files = place
        .in_namespace(
            "mount -t composefs image -o basedir=objects,noatime,nodev,verity_check=0 mnt
             grep -o ' ro,nodev,noatime .* composefs ' /proc/self/mountinfo >&2
             cat mnt/dir/inline mnt/dir/external; umount mnt; ls mnt",
        )
        .succeeds();
    assert_eq!(files, format!("inline\n{}", fixture::content()));
    let error = place.in_namespace("mount -t composefs image -o basedir=nowhere mnt").fails(1);
    assert!(error.contains("No such file or directory: basedir nowhere"), "{error}");
}

fn an_fstab_line_mounts(place: &Place) {
    let dir = place.path("").display().to_string();
    place.write(
        "fstab",
        &format!(
            "{dir}/image {dir}/mnt composefs rw,noatime,nosuid,nofail,_netdev,x-systemd.automount,comment=x,\
             readahead=1M,basedir={dir}/objects 0 0\n\
             {dir}/missing {dir}/other composefs nofail,basedir={dir}/objects 0 0\n\
             {dir}/missing {dir}/third composefs noauto,basedir={dir}/objects 0 0\n"
        ),
    );
    let script = "export LIBMOUNT_FSTAB=$PWD/fstab; mkdir other third
        mount mnt; cat mnt/dir/external; umount mnt
        mount -a -t composefs; cat mnt/dir/inline
        if mount third; then exit 9; fi";
    assert_eq!(place.in_namespace(script).succeeds(), fixture::content() + "inline\n");
}

fn an_fstab_line_mounts_lazily(place: &Place) {
    let dir = place.path("").display().to_string();
    let line = |target: &str, options: &str| {
        format!("debian/13 {dir}/{target} composefs rw,nofail,_netdev,lazy={dir}/remote,repo=repo{options} 0 0\n")
    };
    place.write(
        "fstab",
        &[line("mnt", ",timeout=5"), line("other", ",fill=fast"), line("filled", ",fill=now")].concat(),
    );
    let script = "export LIBMOUNT_FSTAB=$PWD/fstab; mkdir other filled tree; seq 2000 > tree/numbers
        quietly() { \"$@\" > output; }; objects() { ls repo/objects/*/* | wc -l; }
        quietly composefs --repo=built init --insecure; quietly composefs --repo=built create tree --name=debian/13
        quietly composefs --repo=built push debian/13 ./remote; quietly composefs --repo=repo init --insecure
        mount -f mnt; mount -fv mnt | grep -c 'fetched first'; if mountpoint -q mnt; then exit 9; fi
        mount mnt; objects; tail -n 1 mnt/numbers; objects; composefs umount mnt
        if mount other 2> refused; then exit 9; fi; grep -o '\"fast\" is not one of off, idle, now' refused
        if mount.composefs debian/13 mnt -o lazy=$PWD/away,repo=repo 2> refused; then exit 9; fi
        grep -o 'there is no remote' refused
        rm -r repo; quietly composefs --repo=repo init --insecure; mount filled
        for _ in $(seq 200); do composefs status filled --json | grep -q '\"partial\": false' && break; sleep 0.05; done
        objects; composefs umount filled";
    let expected = "1\n1\n2000\n2\n\"fast\" is not one of off, idle, now\nthere is no remote\n2\n";
    assert_eq!(place.in_namespace(script).succeeds(), expected);
}

/// `timeout` kills a command that waits for another process, with status 124.
fn only_files_are_taken_for_images(place: &Place) {
    place.sh("mkfifo fifo; ln -s fifo link").succeeds();
    for name in ["fifo", "link"] {
        for program in ["mount.composefs", "composefs mount"] {
            let error = place.sh(&format!("timeout 20 {program} {name} mnt -o basedir=objects")).fails(1);
            assert!(
                error.contains(&format!("Failed to mount composefs {name}: Invalid argument: it is a FIFO")),
                "{error}"
            );
        }
    }
    let error = place.sh("mount.composefs /dev/zero mnt -o basedir=objects").fails(1);
    assert!(error.contains("it is a character device"), "{error}");
    place.sh("ln -s image to-image; mount.composefs -f to-image mnt -o basedir=objects").succeeds();
}

fn a_digest_of_another_image_is_refused(place: &Place) {
    let create = "composefs --repo r init --insecure >&2; mkdir tree; composefs --repo r create tree --name old
        echo new > tree/new; composefs --repo r create tree --name new";
    let created = place.sh(create).succeeds();
    let [old, new] = created.lines().collect::<Vec<_>>()[..] else { panic!("{created}") };
    let mount = |options: &str| place.sh(&format!("composefs --repo r mount new mnt --dry-run -o {options}"));
    assert!(mount(&format!("digest={new}")).succeeds().contains(new));
    for wrong in [old, &"00".repeat(32), &"00".repeat(64)] {
        let error = mount(&format!("digest={wrong}")).fails(1);
        assert!(error.contains("Image has wrong fs-verity: expected ") && error.contains(wrong), "{error}");
        assert!(error.contains(&format!("this image is sha256:{new}")), "{error}");
    }
}

/// mount(8) passes quotation marks to the helper unchanged.
fn quoted_options_mount(place: &Place) {
    let dir = place.path("").display().to_string();
    place.write(
        "fstab",
        &format!("{dir}/image {dir}/mnt composefs noatime,basedir=\"{dir}/a,b:{dir}/empty\",comment=\"x,y\" 0 0\n"),
    );
    let script = r#"export LIBMOUNT_FSTAB=$PWD/fstab; mv objects a,b; mkdir empty
        mount mnt; cat mnt/dir/external; umount mnt
        mount -t composefs image -o "nodev,basedir=\"a,b\"" mnt; cat mnt/dir/external; umount mnt
        mount.composefs image mnt -o 'basedir="a,b",nodev'; cat mnt/dir/external; umount mnt
        if mount.composefs image mnt -o 'basedir="a,b'; then exit 9; fi"#;
    assert_eq!(place.in_namespace(script).succeeds(), fixture::content().repeat(3));
}

/// The owner of the parent directory replaces the mount point with a symlink after it was opened.
fn the_mount_point_is_looked_up_once(place: &Place) {
    let script = "mkdir -p u/mnt victim
        strace -o trace -e trace=?open,openat,fsopen -e inject=fsopen:delay_exit=1000000:when=2 \
            mount.composefs image $PWD/u/mnt -o basedir=objects & pid=$!
        until grep -q 'u/mnt.*O_PATH' trace; do kill -0 $pid; sleep 0.02; done
        mv u/mnt u/was; ln -s $PWD/victim u/mnt; wait $pid
        ls victim; cat u/was/dir/inline";
    assert_eq!(place.in_namespace(script).succeeds(), "inline\n");
}

fn composefs_mounts_and_unmounts(place: &Place) {
    let script = "composefs mount image mnt -o basedir=objects --json; cat mnt/dir/inline
        composefs umount mnt; ls mnt; if composefs umount mnt; then exit 9; fi";
    let said = place.in_namespace(script).succeeds();
    let json: serde_json::Value = serde_json::from_str(said.strip_suffix("inline\n").unwrap()).unwrap();
    assert!(json["mounted"]["overlay"].is_string(), "{said}");
    let script = "composefs mount image mnt -o basedir=objects,upperdir=upper,workdir=upper/work";
    let error = place.in_namespace(&format!("mkdir -p upper/work; {script}")).fails(1);
    assert!(error.starts_with("composefs: Failed to mount composefs image: Invalid argument: "), "{error}");
}

/// The process that reads ahead does not keep the mount busy, even if it has not read anything yet.
fn files_are_read_ahead(place: &Place) {
    // Enough files that the process is busy when the mount is unmounted.
    let files = (0..20_000).map(|number| format!("/{number} 220 100644 1 0 0 0 1.0 {OBJECT} - -\n"));
    place.write("dump", &format!("/ 0 40755 2 0 0 0 1.0 - - -\n{}", files.collect::<String>()));
    let digest = OBJECT.replace('/', "");
    let script = format!(
        "mkcomposefs --from-file dump many
        in_memory() {{ fincore --bytes --noheadings --output=RES $object | tr -d ' '; }}
        object=objects/{OBJECT}
        {{ echo 'composefs-trace 1'; echo {digest} /missing; echo {digest} /12345; }} >trace
        for option in '' --warm --warm=trace; do
            dd of=$object oflag=nocache conv=notrunc,fdatasync count=0 2>/dev/null
            composefs mount many mnt -o basedir=objects $option
            composefs umount mnt
            for try in $(seq 50); do [ \"$(in_memory)\" = 0 ] || break; [ \"$option\" ] || break; sleep 0.1; done
            echo \"$option $(in_memory)\"
        done"
    );
    assert_eq!(place.in_namespace(&script).succeeds(), " 0\n--warm 4096\n--warm=trace 4096\n");
    let script = "echo other >trace; composefs mount image mnt -o basedir=objects --warm=trace && exit 9
        [ -z \"$(ls mnt)\" ] && exit 3";
    let error = place.in_namespace(script).fails(3);
    assert!(error.contains("trace is no trace: it does not begin with the line"), "{error}");
    for option in ["--dry-run", "--print-spec", "--image-only"] {
        let error = place.sh(&format!("composefs mount image mnt -o basedir=objects --warm {option}")).fails(2);
        assert!(error.contains("cannot be used with"), "{option}: {error}");
    }
}

/// A mount shows the content of the image, including hard links, xattrs and whiteouts.
fn a_mount_is_compared_with_its_image(place: &Place) {
    place.write(
        "dump",
        "/ 0 40755 4 0 0 0 1.5 - - - security.x=1\n\
         /a 3 100644 2 1 2 0 3.0 - abc - user.y=2\n\
         /d 0 40700 2 70000 0 0 4.000000001 - - -\n\
         /d/again 3 @100644 2 1 2 0 3.0 /a - -\n\
         /d/null 0 20666 1 0 0 259 5.0 - - -\n\
         /d/pipe 0 10600 1 0 0 0 5.0 - - -\n\
         /d/to 2 120777 1 0 0 0 5.0 ab - -\n",
    );
    let compare = "composefs mount IMAGE mnt -o basedir=objects; composefs diff IMAGE mnt; composefs diff mnt IMAGE
        composefs-info dump IMAGE | composefs diff - mnt; echo equal";
    let link = "ln -sf composefs bin/composefs-info";
    let script = format!("{link}; {}", compare.replace("IMAGE", "image"));
    assert_eq!(place.in_namespace(&script).succeeds(), "equal\n");
    let script = format!("mkcomposefs --from-file dump linked; {}", compare.replace("IMAGE", "linked"));
    let without = "composefs diff linked mnt --hardlinks=no --brief || [ $? = 1 ]";
    let said = place.in_namespace(&format!("{script}; {without}")).succeeds();
    assert!(said.starts_with("equal\nA: linked (image of version 0, 7 entries)\n"), "{said}");
    assert!(said.contains("looks like built without --hardlinks"), "{said}");
}

/// The status of a mount is true whatever happens to its output.
fn a_report_that_cannot_be_printed(place: &Place) {
    let is_mounted = "grep -q \" $PWD/mnt \" /proc/self/mountinfo";
    for (output, why) in [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor"), ("| true", "")] {
        // The status of the command, not of the reader of the pipe.
        let status = |command: &str| format!("{{ set +e; {command}; echo $? > status; }} {output}; sleep 0.1");
        let json = status("sleep 0.1; composefs mount image mnt -o basedir=objects --json 2> said");
        let script = format!("{json}; cat status said; if {is_mounted}; then exit 9; fi");
        let said = place.in_namespace(&script).succeeds();
        assert!(said.starts_with("1\n") && said.contains("unmounted again") && said.contains(why), "{output}: {said}");
        // The output of -v is not essential, and mount(8) must learn that the mount exists.
        let verbose = status("sleep 0.1; mount.composefs -v image mnt -o basedir=objects 2> said");
        let said = place.in_namespace(&format!("{verbose}; {is_mounted}; cat status said")).succeeds();
        assert!(
            said.starts_with("0\n") && said.contains("mnt is mounted, but ") && said.contains(why),
            "{output}: {said}"
        );
        // A second unmount fails.
        let umount = status("sleep 0.1; composefs umount mnt --json");
        let mount = "composefs mount image mnt -o basedir=objects";
        let script = format!("{mount}; {umount}; cat status; if {is_mounted}; then exit 9; fi");
        assert_eq!(place.in_namespace(&script).succeeds(), "1\n", "{output}");
        let mounts = status("sleep 0.1; composefs mounts");
        assert_eq!(place.in_namespace(&format!("{mount}; {mounts}; cat status")).succeeds(), "1\n", "{output}");
    }
    // The same with writable standard output, and with a full standard error.
    let said = place.in_namespace(&format!("mount.composefs -v image mnt -o basedir=objects; {is_mounted}")).succeeds();
    assert!(said.contains("image    image\n") && said.contains("done     "), "{said}");
    for command in
        ["composefs mount image mnt -o basedir=objects --json", "mount.composefs -v image mnt -o basedir=objects"]
    {
        place.in_namespace(&format!("{command} 2>/dev/full; {is_mounted}")).succeeds();
    }
}

fn another_namespace(place: &Place) {
    let script = "unshare -m sleep 60 & sleep=$!; trap 'kill $sleep' EXIT
        until [ $(readlink /proc/$sleep/ns/mnt) != $(readlink /proc/self/ns/mnt) ]; do sleep 0.01; done
        mount.composefs $PWD/image $PWD/mnt -N /proc/$sleep/ns/mnt -o basedir=$PWD/objects
        ls mnt; cat /proc/$sleep/root$PWD/mnt/dir/inline";
    assert_eq!(place.in_namespace(script).succeeds(), "inline\n");
}

/// The owner of the namespace has replaced every descriptor in `/proc/self/fd` with another image.
fn a_foreign_proc_leads_nowhere(place: &Place) {
    let script = r#"mkdir -p evil/dir fake/self/fd; echo evil > evil/dir/inline; mkcomposefs evil evil.img
        for n in $(seq 3 40); do ln -s $PWD/evil.img fake/self/fd/$n; done
        unshare -m sh -c 'mount --bind fake /proc; : > ready; exec sleep 60' & sleep=$!; trap 'kill $sleep' EXIT
        until [ -e ready ]; do sleep 0.01; done
        mount.composefs -v $PWD/image $PWD/mnt -N /proc/$sleep/ns/mnt -o basedir=$PWD/objects >&2
        ls mnt; cat /proc/$sleep/root$PWD/mnt/dir/inline"#;
    assert_eq!(place.in_namespace(script).succeeds(), "inline\n");
}
