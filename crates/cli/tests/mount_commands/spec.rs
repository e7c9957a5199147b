//! `composefs mount --print-spec` and `--image-only`.

use serde_json::Value;

use crate::fixture::{Place, content};

const PAGE: &str = include_str!("../../../../docs/mount.md");

/// Each command of the page's section prints the JSON that follows it.
pub(crate) fn is_as_documented(place: &Place) {
    place.sh("cp image rootfs.img").succeeds();
    let here = place.path("").display().to_string();
    let here = here.trim_end_matches('/');
    let (_, section) = PAGE.split_once("\n## Mounts for other programs\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut examples = 0;
    for (command, rest) in
        section.match_indices("\n    $ ").map(|(at, mark)| section[at + mark.len()..].split_once('\n').unwrap())
    {
        let json: String = rest
            .lines()
            .map_while(|line| line.strip_prefix("    "))
            .take_while(|line| !line.starts_with('$'))
            .collect();
        let expected: Value =
            serde_json::from_str(&json.replace("/srv", here)).unwrap_or_else(|e| panic!("{json}: {e}"));
        let printed = place.sh(&command.replace("/srv", here)).succeeds();
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected, "{command}");
        examples += 1;
    }
    assert_eq!(examples, 2);
}

pub(crate) fn cannot_be_printed(place: &Place) {
    for (options, reason) in [
        ("-o basedir=objects,idmap=/proc/self/ns/user", "option idmap has no counterpart"),
        ("-o basedir=objects,tryverity", "option tryverity depends on the kernel"),
        ("-o upperdir=u,workdir=w --image-only", "upperdir= needs an overlay"),
        ("-o ro", "No object dirs specified"),
    ] {
        let error = place.sh(&format!("composefs mount image mnt {options} --print-spec")).fails(1);
        assert!(error.contains(reason), "{options}: {error}");
    }
    // The digest is compared although nothing is mounted.
    let digest = "ab".repeat(32);
    let error = place.sh(&format!("composefs mount image mnt -o digest={digest} --image-only --print-spec")).fails(1);
    assert!(error.contains("Image has no fs-verity"), "{error}");
    for other in ["--json", "--dry-run"] {
        place.sh(&format!("composefs mount image mnt -o basedir=objects --print-spec {other}")).fails(2);
    }
}

pub(crate) fn mount_8_makes_the_mounts(place: &Place) {
    let mounted = place.in_namespace("composefs mount image mnt -o basedir=objects --json").succeeds();
    if mounted.contains("mount2-ordinary-layers") {
        // Data-only layers came with Linux 6.5.
        return;
    }
    let spec = place.sh("composefs mount image mnt -o basedir=objects,nosuid --print-spec").succeeds();
    let spec: Vec<Value> = serde_json::from_str(&spec).unwrap();
    let mut script = String::new();
    for mount in &spec {
        let word = |key: &str| mount[key].as_str().unwrap().to_owned();
        let options: Vec<_> = mount["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()).collect();
        let (kind, options) = (word("type"), options.join(","));
        script += &format!("mount -i -t {kind} -o {options} {} {}\n", word("source"), word("destination"));
    }
    script += "cat mnt/dir/external; composefs umount mnt; umount mnt; ls mnt";
    assert_eq!(place.in_namespace(&script).succeeds(), content());
}

pub(crate) fn the_image_alone_is_mounted(place: &Place) {
    let mount = "composefs mount image mnt --image-only";
    let script = format!("{mount} --json; stat -f -c %T mnt >&2; cat mnt/dir/inline; umount mnt; ls mnt");
    let said = place.in_namespace(&script).succeeds();
    let json: Value = serde_json::from_str(said.strip_suffix("inline\n").unwrap()).unwrap();
    assert_eq!((&json["mounted"]["overlay"], &json["plan"]["attributes"]), (&Value::Null, &Value::from("ro")));
    let plan = place.sh(&format!("{mount} --dry-run -o nosuid")).succeeds();
    assert!(!plan.contains("overlay") && plan.ends_with("\nmount    mnt (ro,nosuid)\n"), "{plan}");
    // A report that cannot be printed takes the mount along.
    let script = format!(
        "if {mount} --json >/dev/full 2>said; then exit 9; fi
        cat said; if grep -q \" $PWD/mnt \" /proc/self/mountinfo; then exit 9; fi"
    );
    assert!(place.in_namespace(&script).succeeds().contains("unmounted again"));
}
