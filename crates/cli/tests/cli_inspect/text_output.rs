//! Output of the commands for a small image, and their failures.

use std::fs;
use std::process::Command;

use libcomposefs_testkit::{cfsctl, golden, skip};

use crate::fixture::{Place, build, bytes, composefs};

const DUMP: &[u8] = b"\
/ 0 40755 2 0 0 0 1.0 - - -
/dir 0 40755 2 0 0 0 1.0 - - - user.a=1
/dir/inner 0 40755 2 0 0 0 1.0 - - -
/dir/inner/file 5 100644 2 1000 100 0 1709208000.5 - hello - user.b=\\xff
/dir/link 0 @100644 1 0 0 0 0.0 /dir/inner/file - -
/esc\\x1b[2J\\n 1 100644 1 0 0 0 1.0 - x -
/latin\\xe9 1 100644 1 0 0 0 1.0 - x -
/null 0 20666 1 0 0 259 1.0 - - -
/obj 100 104755 1 0 0 0 1.0 cc/dd - cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f
/sym 3 120777 1 0 0 0 1.0 dir/inner - -
/wh 0 40755 2 0 0 0 1.0 - - -
/wh/gone 0 20644 1 0 0 0 1.0 - - -
";

#[test]
fn ls_prints_short_and_long_lines() {
    let place = Place::with(DUMP);
    assert_eq!(place.run("ls @image").ok().stdout, b"dir\nesc\x1b[2J\n\nlatin\xe9\nnull\nobj\nsym\nwh\n");
    assert_eq!(place.out("ls -b @image"), "dir\nesc\\x1b[2J\\n\nlatin\\xe9\nnull\nobj\nsym\nwh\n");
    assert_eq!(place.run("ls -0 @image").ok().stdout, b"dir\0esc\x1b[2J\n\0latin\xe9\0null\0obj\0sym\0wh\0");
    // A symlink to a directory is followed, except with -l and -d.
    assert_eq!(place.out("ls @image sym"), "file\n");
    assert_eq!(place.out("ls -l @image sym"), "lrwxrwxrwx 1 0 0 9 1970-01-01T00:00:01Z sym -> dir/inner\n");
    assert_eq!(place.out("ls -d @image sym dir"), "sym\ndir\n");
    let long = "-rw-r--r-- 2 1000 100   5 2024-02-29T12:00:00Z /dir/link\n\
                -rwsr-xr-x 1    0   0 100 1970-01-01T00:00:01Z obj\n";
    assert_eq!(place.out("ls -l @image /dir/link obj"), long);
    assert_eq!(place.out("ls -l @image wh"), "crw-r--r-- 1 0 0 0,0 1970-01-01T00:00:01Z gone\n");
    assert_eq!(place.out("ls -R @image dir"), "dir:\ninner\nlink\n\ndir/inner:\nfile\n");
    let heads: Vec<String> =
        place.out("ls -Rb @image").lines().filter(|line| line.ends_with(':')).map(str::to_owned).collect();
    assert_eq!(heads, ["/:", "/dir:", "/dir/inner:", "/wh:"]);
    assert_eq!(place.out("ls @image null dir wh"), "null\n\ndir:\ninner\nlink\n\nwh:\ngone\n");
    let json = place.json("ls --json @image dir obj");
    let paths: Vec<_> = json.as_array().unwrap().iter().map(|object| object["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/obj", "/dir/inner", "/dir/link"]);
    assert_eq!(bytes(&place.json("ls --json @image")[2], "path"), b"/latin\xe9");
}

#[test]
fn stat_prints_an_inode() {
    let place = Place::with(DUMP);
    let text = place.out("stat @image /dir/link obj null wh/gone sym/file");
    for line in [
        "path     /dir/link\ntype     file\nmode     -rw-r--r-- (0644)\nlinks    2\nowner    1000:100\nsize     5\n",
        "mtime    2024-02-29T12:00:00.000000005Z (1709208000.5)\ncontent  inline\ninode    ",
        "xattr    user.b=\\xff\n",
        "content  object\n\
         digest   sha256 cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f\npayload  cc/dd\n",
        "path     /null\ntype     character device\nmode     crw-rw-rw- (0666)\n",
        "device   1,3\n",
        "device   0,0 (a whiteout)\n",
        "path     /dir/inner/file\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let json = place.json("stat --json @image /wh /wh/gone obj");
    // Xattrs that the writer adds are hidden, except for the one that it leaves on the directory.
    assert_eq!((json[1]["whiteout"].as_bool(), json[1]["xattrs"].as_array().map(Vec::len)), (Some(true), Some(0)));
    assert_eq!((&json[2]["content"], &json[2]["payload"]), (&"object".into(), &"cc/dd".into()));
    // Finds the other hard link of a file by its inode number.
    let nid = place.json("stat --json @image /dir/link")[0]["nid"].as_u64().unwrap();
    assert_eq!(place.out(&format!("find @image --nid {nid}")), "/dir/inner/file\n/dir/link\n");
}

#[test]
fn stat_prints_an_image() {
    let place = Place::with(DUMP);
    let json = place.json("stat --json @image");
    let digest = place.out("digest @image");
    assert_eq!(Some(json["digest"].as_str().unwrap()), digest.split(' ').next());
    assert_eq!((&json["format_version"], &json["stubs"], &json["names"]), (&1.into(), &256.into(), &11.into()));
    assert_eq!(json["types"]["file"], 4);
    assert_eq!(
        json["contents"],
        serde_json::json!({
            "empty": 0, "inline": 3, "inline_bytes": 7, "object": 1, "hole": 0, "objects": 1,
        })
    );
    let text = place.out("stat @image");
    assert!(text.contains("format   version 1\n") && text.contains("order    breadth first\n"), "{text}");
}

#[test]
fn find_conditions() {
    let place = Place::with(DUMP);
    for (line, found) in [
        ("--content object", "/obj\n"),
        ("--content inline --size 5", "/dir/inner/file\n/dir/link\n"),
        ("--digest CC3DA5b1", "/obj\n"),
        ("--object cc/dd", "/obj\n"),
        ("--object /cc/dd", "/obj\n"),
        ("--xattr user.a", "/dir\n"),
        ("--xattr user.a=1", "/dir\n"),
        ("--xattr user.a=2", ""),
        ("--type c", "/null\n/wh/gone\n"),
        ("--path /dir/*", "/dir/inner\n/dir/link\n"),
        ("--path /dir/**", "/dir/inner\n/dir/inner/file\n/dir/link\n"),
        ("--name /", "/\n"),
        ("--newer 2024-02-29T12:00:00", "/dir/inner/file\n/dir/link\n"),
        ("--newer 2024-02-29T12:00:01", ""),
        ("--perm -4011", "/obj\n"),
        ("--perm -4022", ""),
        ("--older 2024-02-29T12:00:00 --type f --perm -4000", "/obj\n"),
    ] {
        assert_eq!(place.out(&format!("find {line} @image")), found, "{line}");
    }
    assert_eq!(place.out("find @image dir/link sym"), "/dir/link\n/sym\n");
    assert_eq!(place.out("find @image sym/"), "/dir/inner\n/dir/inner/file\n");
    assert_eq!(place.out("find -l @image obj"), "-rwsr-xr-x  1    0    0       100 1970-01-01T00:00:01Z /obj\n");
    assert_eq!(place.out("find --json @image --content hole"), "[]\n");
}

#[test]
fn control_characters_are_escaped_on_a_terminal() {
    let place = Place::with(DUMP);
    let script =
        |line: &str| Command::new("script").args(["-qec", line, "/dev/null"]).current_dir(place.0.path()).output();
    if script("true").is_err() {
        return skip::announce(
            "text_output::control_characters_are_escaped_on_a_terminal",
            "there is no script(1) to give a terminal",
        );
    }
    for line in ["ls", "ls -l", "ls -R", "find", "find -l"] {
        let out = script(&format!("{} {line} image", env!("CARGO_BIN_EXE_composefs"))).unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(text.contains("esc\\x1b[2J\\n\r\n") && text.contains("latin\\xe9\r\n"), "{line}: {text}");
        assert!(!text.contains('\x1b'), "{line}: {text}");
    }
}

#[test]
fn commands_continue_after_a_failure() {
    let place = Place::with(DUMP);
    for command in ["ls", "ls -R", "ls -d", "stat", "find", "find -l"] {
        let whole = place.run(&format!("{command} @image null")).ok().stdout;
        let out = place.run(&format!("{command} @image none null null/x"));
        assert_eq!((out.status, &out.stdout), (Some(1), &whole), "{command}");
        assert!(out.stderr.contains("image: /none is not in the image\nremedy: composefs ls "), "{}", out.stderr);
        assert!(out.stderr.contains("image: /null is not a directory\n"), "{}", out.stderr);
    }
    for (line, status, words) in [
        ("ls", 2, "required"),
        ("ls @none", 1, "none': No such file"),
        ("cat @image", 2, "required"),
        ("ls --null --json @image", 2, "cannot be used with"),
        ("ls @image --type", 2, "unexpected"),
        ("find @image --type x", 2, "f, d, l"),
        ("find @image --size 1x", 2, "expected N, +N or -N"),
        ("find @image --perm u+x", 2, "octal"),
        ("find @image --newer yesterday", 2, "YYYY-MM-DD"),
        ("find @image --name [", 2, "--name"),
        ("find @image --digest xyz", 2, "hex"),
        ("cat @image null --basedir @none", 1, "cannot open the object directory"),
        ("du @image --basedir @image", 1, "cannot open the object directory"),
    ] {
        let out = place.run(line);
        assert_eq!(out.status, Some(status), "{line}: {}", out.stderr);
        assert!(out.stderr.contains(words), "{line}: {}", out.stderr);
    }
}

#[test]
fn damage_is_reported_with_its_path() {
    let place = Place::with(DUMP);
    let nid = place.json("stat --json @image /dir/inner/file")[0]["offset"].as_u64().unwrap() as usize;
    let mut image = fs::read(place.path("image")).unwrap();
    // Damages the mode of the inode.
    image[nid + 4..nid + 6].copy_from_slice(&[0, 0]);
    place.write("damaged", &image);
    for command in
        ["stat @damaged dir/inner/file", "cat @damaged dir/link", "ls @damaged dir", "find @damaged", "du @damaged"]
    {
        let out = place.run(command);
        assert_eq!(out.status, Some(1), "{command}");
        let said = out.stderr.contains(&format!("offset {nid}: mode 0 has no valid file type"));
        assert!(said && out.stderr.contains("damaged") && out.stderr.contains("/dir"), "{command}: {}", out.stderr);
    }
    // Inodes that are not damaged can be inspected.
    assert_eq!(place.out("ls -b @damaged"), place.out("ls -b @image"));
    assert_eq!(place.out("ls @damaged wh"), "gone\n");
}

#[test]
fn stat_accepts_goldens_and_images_of_cfsctl() {
    let place = Place::new();
    let check = |name: &str| {
        let found = place.json("find --json @image");
        let found = found.as_array().unwrap();
        let listed = place.json("ls -R --json @image");
        let facts = place.json("stat --json @image");
        assert_eq!(found.len() as u64, facts["names"].as_u64().unwrap() + 1, "{name}");
        // Equal except for the order of inodes.
        let sorted = |list: &[serde_json::Value]| {
            let mut list: Vec<_> = list.iter().map(|object| (bytes(object, "path"), object.to_string())).collect();
            list.sort();
            list
        };
        assert_eq!(sorted(&found[1..]), sorted(listed.as_array().unwrap()), "{name}");
        let inline: u64 = facts["contents"]["inline_bytes"].as_u64().unwrap();
        assert_eq!(place.json("du --json @image")["total"]["inline"].as_u64(), Some(inline), "{name}");
        found.len()
    };
    let mut names = 0;
    for case in golden::good() {
        build(&case.dump, "1", &place.path("image"));
        names += check(&case.name);
    }
    for recorded in cfsctl::images() {
        place.write("image", &recorded.image);
        names += check("cfsctl");
    }
    assert!(names > 5000, "{names}");
}

#[test]
fn help_has_examples_and_statuses() {
    for command in ["ls", "stat", "cat", "find", "du"] {
        let help = String::from_utf8(composefs([command, "--help"]).ok().stdout).unwrap();
        assert!(help.contains("Examples:\n  composefs ") && help.contains("Exit status: 0"), "{command}: {help}");
        assert!(help.contains("--json"), "{command}");
    }
}
