//! Makes the seeds of the fuzz targets: golden dumps, their images, bundles, and inputs of several pieces.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{paths, process};

/// A piece of an input, as `fuzz/src/pieces.rs` reads it.
pub(super) fn piece(kind: u8, bytes: &[u8], input: &mut Vec<u8>) -> Result<()> {
    input.push(kind);
    input.extend_from_slice(&u16::try_from(bytes.len()).context("a piece of a seed is too long")?.to_le_bytes());
    input.extend_from_slice(bytes);
    Ok(())
}

/// Builds the programs; gives the path of `composefs`.
pub(super) fn composefs() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    process::run(cargo.current_dir(paths::checkout()).args(["build", "--quiet", "--package", "composefs-cli"]))?;
    Ok(paths::target().join("debug/composefs"))
}

fn put(dir: &Path, max_len: usize, name: &str, seed: &[u8]) -> Result<()> {
    ensure!(seed.len() <= max_len, "the seed {name} is longer than max_len");
    fs::write(dir.join(name), seed).with_context(|| format!("cannot write the seed {name}"))
}

/// Bundles of one small tree, with both algorithms.
pub(super) fn bundles(dir: &Path, max_len: usize) -> Result<()> {
    let composefs = composefs()?;
    let scratch = tempfile::tempdir()?;
    fs::create_dir(scratch.path().join("tree"))?;
    fs::write(scratch.path().join("tree/file"), [b'f'; 100])?;
    for algorithm in ["sha256", "sha512"] {
        let bundle = dir.join(format!("{algorithm}.bundle"));
        let (bundle, repo) = (bundle.to_string_lossy().into_owned(), format!("--repo={algorithm}"));
        for words in [
            &["init", "--insecure", "--algorithm", algorithm][..],
            &["create", "tree", "--name=a/name"],
            &["export", "a/name", "--output", &bundle],
        ] {
            process::output(Command::new(&composefs).current_dir(scratch.path()).arg(&repo).args(words))?;
        }
        ensure!(fs::metadata(&bundle)?.len() <= max_len as u64, "a seed is longer than max_len");
    }
    Ok(())
}

/// The images of the golden dumps, as this checkout makes them.
pub(super) fn images(dir: &Path, max_len: usize) -> Result<()> {
    let program = composefs()?;
    let work = tempfile::tempdir()?;
    dumps(work.path(), max_len)?;
    for entry in fs::read_dir(work.path())? {
        let dump = entry?.path();
        for version in ["0", "1"] {
            let image = dir.join(dump.file_stem().context("no name")?).with_extension(version);
            let mut mkcomposefs = Command::new(&program);
            mkcomposefs.arg0("mkcomposefs").args(["--from-file", "--min-version", version]).arg(&dump).arg(&image);
            // Bad dumps have none.
            let made = mkcomposefs.output().with_context(|| format!("cannot run {}", program.display()))?;
            if made.status.success() && image.metadata()?.len() > max_len as u64 {
                fs::remove_file(&image)?;
            }
        }
    }
    Ok(())
}

/// The dumps of the golden corpus, good and bad.
pub(super) fn dumps(dir: &Path, max_len: usize) -> Result<()> {
    let golden = paths::checkout().join("crates/testkit/data/golden");
    for folder in [golden.join("bad"), golden] {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "dump")) {
            if file.metadata()?.len() <= max_len as u64 {
                fs::copy(file, dir.join(file.file_name().context("no name")?))?;
            }
        }
    }
    Ok(())
}

/// Two dumps with a NUL between them: each golden one twice, and with the next one.
pub(super) fn pairs(dir: &Path, max_len: usize) -> Result<()> {
    let work = tempfile::tempdir()?;
    dumps(work.path(), max_len)?;
    let mut files: Vec<_> = fs::read_dir(work.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let dumps: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<Result<_, _>>()?;
    for (number, dump) in dumps.iter().enumerate() {
        for (with, other) in [("itself", dump), ("next", &dumps[(number + 1) % dumps.len()])] {
            let seed = [&dump[..], b"\0", other].concat();
            if seed.len() <= max_len {
                put(dir, max_len, &format!("{number}-{with}"), &seed)?;
            }
        }
    }
    Ok(())
}

/// Pairs, and trees that lead out of the directory if a symlink is followed.
pub(super) fn trees_to_extract(dir: &Path, max_len: usize) -> Result<()> {
    pairs(dir, max_len)?;
    let root = "/ 0 40755 3 0 0 0 0.0 - - -\n";
    let link = |target: &str| format!("{root}/a {} 120777 1 0 0 0 0.0 {target} - -\n", target.len());
    let below = format!("{root}/a 0 40755 2 0 0 0 0.0 - - -\n/a/file 5 100644 1 0 0 0 0.0 - hello -\n");
    let file = |payload: &str| format!("{root}/a 100 100644 1 0 0 0 0.0 {payload} - -\n");
    for (name, first, second) in [
        ("symlink-then-directory", link("../outside"), below.clone()),
        ("absolute-symlink", link("/dev/shm"), below.clone()),
        ("directory-then-symlink", below, link("../outside/file")),
        ("payloads", file("../outside/file"), file("out/file")),
        ("symlink-then-file", link("../outside/file"), file("plain")),
    ] {
        put(dir, max_len, name, &[first.as_bytes(), b"\0", second.as_bytes()].concat())?;
    }
    Ok(())
}

/// A path, a NUL, and an image.
pub(super) fn paths_and_images(dir: &Path, max_len: usize) -> Result<()> {
    let work = tempfile::tempdir()?;
    images(work.path(), max_len / 2)?;
    for entry in fs::read_dir(work.path())? {
        let entry = entry?;
        let seed = [&b"/a/../b/./c/\0"[..], &fs::read(entry.path())?].concat();
        put(dir, max_len, &entry.file_name().to_string_lossy(), &seed)?;
    }
    Ok(())
}

/// One or two of each text; `meta.json` as the program writes it.
pub(super) fn texts(dir: &Path, max_len: usize) -> Result<()> {
    let (composefs, work) = (composefs()?, tempfile::tempdir()?);
    for (name, arguments) in [("meta", &["--insecure"][..]), ("meta-512", &["--insecure", "--algorithm", "sha512"])] {
        let mut init = Command::new(&composefs);
        process::output(init.current_dir(work.path()).arg(format!("--repo={name}")).arg("init").args(arguments))?;
        put(dir, max_len, name, &[b"m", &fs::read(work.path().join(name).join("meta.json"))?[..]].concat())?;
    }
    let digest = "ab".repeat(32);
    let mount = format!(
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
         45 27 0:40 / /a\\040b ro - overlay composefs:{digest} ro\n"
    );
    for (name, seed) in [
        ("name", "ndebian/13/minbase".to_owned()),
        ("name-digest", format!("n{digest}")),
        ("options", format!("obasedir=/a\\,b:/c\\:d,digest={digest},ro,nosuid,readahead=1M,nofail")),
        ("options-upper", "obasedir=\"a,b\",upperdir=/u,workdir=/w,verity_check=2,idmap=/proc/1/ns/user".to_owned()),
        ("options-long", format!("obasedir=/a{}", ",nosuid,ro".repeat(1000))),
        ("mountinfo", format!("i{mount}")),
        ("mountinfo-long", format!("i{}", mount.repeat(70))),
        ("patterns", "x*.o\n!keep.o\n/a/**/b\n{a,b}[c-e]?/\n\0deep/down/a.o".to_owned()),
        ("patterns-long", format!("x{}\0a/b/c", "*.[a-z]\n!a/**/b\n".repeat(20))),
        ("policy-long", format!("p{}inline=64", "xattrs=user,".repeat(1000))),
        ("policy", "pversion=1,hash=sha512,xattrs=user,times=clamp:5,hardlinks=no,inline=64,devices=no".to_owned()),
        ("policy-given", "pinline=given,times=zero-directories".to_owned()),
        ("container", CONTAINER.to_owned()),
        ("container-volumes", format!("k{{\"config\":{{\"Cmd\":[\"x\"],\"Volumes\":{{{}}}}}}}", volumes())),
        ("user", "uapp\0root:x:0:0::/root:\napp:x:1:2::/app:\n\0app:x:2:\nextra:x:3:app,other\n".to_owned()),
        ("user-groups", format!("uapp\0app:x:1:2::/app:\n\0{}", "x:x:3:app,b\n".repeat(1000))),
        ("seccomp", SECCOMP.to_owned()),
    ] {
        put(dir, max_len, name, seed.as_bytes())?;
    }
    registry_texts(dir, max_len)
}

/// Files and answers that the client of registries reads.
fn registry_texts(dir: &Path, max_len: usize) -> Result<()> {
    let entry = r#""host.example/a/b": {"auth": "dTpw"}, "host.example": {"identitytoken": "t"}"#;
    let rule = "[[registry]]\nprefix = \"*.host.example\"\nlocation = \"b.example\"\ninsecure = true\n\
                [[registry.mirror]]\nlocation = \"c.example:5000/d\"\npull-from-mirror = \"tag-only\"\n";
    let accept = r#"[{"type": "insecureAcceptAnything"}]"#;
    let part = "--b\r\nContent-Range: bytes 2-4/1048576\r\n\r\nabc\r\n";
    for (name, seed) in [
        ("auth", format!(r#"a{{"auths": {{{entry}}}, "credHelpers": {{"x.example": "y"}}, "credsStore": "z"}}"#)),
        ("auth-long", format!("a{{\"auths\": {{{}}}}}", vec![entry; 150].join(","))),
        (
            "registries",
            format!("cunqualified-search-registries = [\"a.example\"]\n{rule}[aliases]\n\"a/b\" = \"c.d/e\"\n"),
        ),
        ("registries-long", format!("c{}", rule.repeat(90))),
        (
            "signatures",
            format!(r#"s{{"default": {accept}, "transports": {{"docker": {{"host.example": {accept}}}}}}}"#),
        ),
        ("signatures-signed", r#"s{"default": [{"type": "signedBy", "keyType": "GPGKeys"}]}"#.to_owned()),
        ("challenge", "wBearer realm=\"https://a.b/token\",service=\"c\",scope=\"d:e:pull\", Basic realm=f".to_owned()),
        ("challenge-long", format!("w{}", "Basic realm=\"a\\\"b\", ".repeat(700))),
        ("ranges", format!("b\u{7}x\r\n{part}{part}--b--\r\n")),
        ("ranges-long", format!("b\u{1}{}", part.repeat(300))),
        ("refusal", r#"e{"errors":[{"code":"DENIED","message":"\u001b","detail":{}}]}"#.to_owned()),
        ("manifest", r#"j{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_owned()),
        ("reference", format!("fhost.example:5000/a/b__c-d:tag@sha256:{}", "ab".repeat(32))),
    ] {
        put(dir, max_len, name, seed.as_bytes())?;
    }
    Ok(())
}

/// Files that others put into a repository; the pieces are those of `fuzz/fuzz_targets/repository.rs`.
pub(super) fn repositories(dir: &Path, max_len: usize) -> Result<()> {
    let digest = "cd".repeat(32);
    let dangling = format!("x\0../{digest}");
    let (stream, sub_stream) = (&b"SplitStream\0\0%0%1"[..], &b"SplitStream\0\0\0\0%2"[..]);
    for (name, pieces) in [
        ("lease", &[(b'o', &b"content"[..]), (b'l', b"%0%1")][..]),
        (
            "names",
            &[(b'r', b"other\0../%0"), (b'r', b"a/b\0../../%0"), (b'r', b"x\0../../images/%0"), (b'r', b".y\0../%0")],
        ),
        ("dangling", &[(b'r', dangling.as_bytes()), (b'i', b"abc\0../objects/zz"), (b'r', b"a\0b")]),
        ("images", &[(b'o', b"no image"), (b'i', b"%1\0../objects/$1"), (b'r', b"bad\0../%1")]),
        ("streams", &[(b'o', b"content"), (b'o', stream), (b's', b"oci\0../objects/$2"), (b't', b"n\0../oci")]),
        ("nested", &[(b'o', b"one"), (b'o', stream), (b'o', sub_stream), (b's', b"s\0../objects/$3")]),
        ("meta", &[(b'm', br#"{"version":1,"algorithm":"fsverity-sha512-12"}"#)]),
    ] {
        let mut seed = Vec::new();
        pieces.iter().try_for_each(|(kind, bytes)| piece(*kind, bytes, &mut seed))?;
        put(dir, max_len, name, &seed)?;
    }
    Ok(())
}

const CONTAINER: &str = r#"k{"config":{"User":"app:1","Env":["A=b","C"],"Entrypoint":["/a"],"Cmd":["b"],
    "WorkingDir":"/w","Volumes":{"/v":{}},"Labels":{"a":"b"}}}"#;
const SECCOMP: &str = r#"z{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
    "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
    "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}],
    "includes":{"caps":["CAP_CHOWN"],"arches":["amd64"],"minKernel":"4.8"},"excludes":{"arches":["s390x"]}}]}"#;

fn volumes() -> String {
    (0..500).map(|number| format!("\"/{number:04}\":{{}}")).collect::<Vec<_>>().join(",")
}
