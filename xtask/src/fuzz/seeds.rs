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

/// Writes a seed.
pub(super) fn put(dir: &Path, max_len: usize, name: &str, seed: &[u8]) -> Result<()> {
    ensure!(seed.len() <= max_len, "the seed {name} is longer than max_len");
    fs::write(dir.join(name), seed).with_context(|| format!("cannot write the seed {name}"))
}

/// Bundles of one small tree, with both algorithms.
pub(super) fn bundles(dir: &Path, max_len: usize) -> Result<()> {
    bundles_of_version("1", dir, max_len)
}

/// Bundles of version 2.
pub(super) fn frame_bundles(dir: &Path, max_len: usize) -> Result<()> {
    bundles_of_version("2", dir, max_len)
}

fn bundles_of_version(version: &str, dir: &Path, max_len: usize) -> Result<()> {
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
            &["export", "a/name", "--output", &bundle, "--bundle-version", version],
        ] {
            process::output(Command::new(&composefs).current_dir(scratch.path()).arg(&repo).args(words))?;
        }
        ensure!(fs::metadata(&bundle)?.len() <= max_len as u64, "a seed is longer than max_len");
    }
    Ok(())
}

/// Frames, and pairs of contents: the coder, the size of the object and that of the base, the base, the rest.
pub(super) fn frames(dir: &Path, max_len: usize) -> Result<()> {
    put(dir, max_len, "stored", b"\0\x05\0\0\0hello")?;
    put(dir, max_len, "text", &[&b"\x80\0\0\x0d\0hello, world\n"[..], b"hello, moon\n"].concat())?;
    let (old, new) = (program(0), program(16));
    let base_len = u16::try_from(old.len())?.to_le_bytes();
    put(dir, max_len, "program", &[&[0x80, 0, 0], &base_len[..], &old, &new].concat())?;
    let (old, new) = (module(0), module(16));
    let base_len = u16::try_from(old.len())?.to_le_bytes();
    put(dir, max_len, "module", &[&[0x80, 0, 0], &base_len[..], &old, &new].concat())?;
    let text = |first: u32| (first..200).map(|number| format!("line {number}\n")).collect::<String>();
    let (old, new) = (compressed("gzip", "-9nc", text(0).as_bytes())?, compressed("gzip", "-9nc", text(1).as_bytes())?);
    let base_len = u16::try_from(old.len())?.to_le_bytes();
    put(dir, max_len, "gzip", &[&[0x80, 0, 0], &base_len[..], &old, &new].concat())?;
    // Tokens without a stream in the base: a fixed block with a literal and a match.
    let form = compressed("zstd", "-qc", b"\0\x03\x01a\x01\0\0\0\0\0\0\0")?;
    put(dir, max_len, "tokens", &[&b"\x04\x04\0\x04\0base\0"[..], &form].concat())
}

/// Compresses some bytes by a program that writes to its standard output.
fn compressed(program: &str, options: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("bytes");
    fs::write(&path, bytes)?;
    process::output(Command::new(program).arg(options).arg(&path))
}

/// Documents of remotes: a ref, an index with a stored frame and its pack, and a compressed index.
pub(super) fn remotes(dir: &Path, max_len: usize) -> Result<()> {
    let entry = format!("{{\"sha256\": \"{}\", \"size\": 5}}", "ab".repeat(32));
    let image = format!("{{\"algorithm\": \"sha256\", \"digest\": \"{}\", \"size\": 4096}}", "cd".repeat(32));
    let document = format!(
        "{{\"version\": 1, \"image\": {image}, \"metadata\": {entry}, \"index\": {entry}, \"packs\": [{entry}], \
         \"records\": [{{\"type\": \"note\", \"critical\": false, \"value\": 1}}]}}"
    );
    put(dir, max_len, "ref", &[b"\0", document.as_bytes()].concat())?;
    let mut index = [&b"composefs-index\n\x01\0\0\0\x01\0\0\0"[..], &[1; 32], &4096_u64.to_le_bytes()].concat();
    let size = 5_u64.to_le_bytes();
    let frame = [&[0; 12][..], &size, b"\0\0\x01\0\0\0\x01\0\0\0"].concat();
    let records = [[&[2; 32][..], &size].concat(), [&[3; 32][..], &size].concat(), Vec::new(), frame];
    for (kind, payload) in (0x8001_u16..).zip(&records).chain([(0x8005, &4_u64.to_le_bytes().to_vec())]) {
        index.extend(kind.to_le_bytes());
        index.extend((payload.len() as u64).to_le_bytes());
        index.extend(payload);
    }
    let len = u16::try_from(index.len())?.to_le_bytes();
    put(dir, max_len, "index", &[b"\x01", &len[..], &index, b"hello"].concat())?;
    put(dir, max_len, "compressed", b"\x02\x28\xb5\x2f\xfd\x20\x05\x29\0\0hello")
}

/// Messages of the protocol of `composefs remote serve`, of both sides.
pub(super) fn ssh_messages(dir: &Path, max_len: usize) -> Result<()> {
    let message = |kind: u8, payload: &[u8]| [&(payload.len() as u32).to_le_bytes()[..], &[kind], payload].concat();
    let (one, three) = (1_u64.to_le_bytes(), 3_u64.to_le_bytes());
    // The SHA-256 of `abc`.
    let digest = b"\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23\
                   \xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad";
    let pack = [&[4][..], digest].concat();
    let requests = [
        message(16, &[&three[..], &pack].concat()),
        message(17, &[&one[..], &three, &pack].concat()),
        message(18, b"\x01\x01\0r"),
        message(19, &[&three[..], &pack].concat()),
        message(1, b"abc"),
        message(2, b""),
        message(20, &[&one[..], b"\x01\x01\0v", b"\x01\x01\0r"].concat()),
        message(1, b"x"),
        message(2, b""),
        message(21, b"\x03"),
        message(22, &pack),
    ];
    let replies = [
        message(32, b"\0\0\0"),
        message(34, b"\x01\x01\0v"),
        message(1, b"abc"),
        message(2, b""),
        message(36, &three),
        message(41, &[&three[..], &one, &pack].concat()),
        message(48, b"\x01\x01\0r"),
    ];
    put(dir, max_len, "requests", &[b"h", &requests.concat()[..]].concat())?;
    put(dir, max_len, "replies", &[b"g", &replies.concat()[..]].concat())
}

/// A program of 40 functions that call the next one, with `gap` bytes before the last 20, and a table of pointers.
fn program(gap: u64) -> Vec<u8> {
    let start = |number: u64| 0x1000 + number % 40 * 32 + if number % 40 < 20 { 0 } else { gap };
    let (mut text, mut data) = (Vec::new(), Vec::new());
    for number in 0..40 {
        text.resize((start(number) - 0x1000) as usize, 0xcc);
        text.push(0xe8);
        text.extend((start(number + 1).wrapping_sub(start(number) + 5) as u32).to_le_bytes());
        text.extend((0..20).map(|byte| (number * 7 + byte * 3) as u8 | 0x40));
        data.extend(start(number).to_le_bytes());
    }
    let (names, mut headers, mut bytes) = (b"\0.text\0.data\0.names\0".to_vec(), Vec::new(), vec![0; 64]);
    for (name, flags, address, content) in [(1, 6, 0x1000, text), (7, 3, 0x8000, data), (13, 0, 0, names)] {
        headers.extend([name, 1].into_iter().flat_map(u32::to_le_bytes));
        let words = [flags, address, bytes.len() as u64, content.len() as u64, 0, 8, 0];
        headers.extend(words.into_iter().flat_map(u64::to_le_bytes));
        bytes.extend(content);
    }
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18], bytes[58], bytes[60], bytes[62]) = (3, 62, 64, 3, 2);
    let table = bytes.len().to_le_bytes();
    bytes[40..48].copy_from_slice(&table);
    [bytes, headers].concat()
}

/// A kernel module: code with relocations, their symbol, and types. `gap` bytes are inserted, and types before all.
fn module(gap: u32) -> Vec<u8> {
    let words = |list: &[u32]| list.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let (mut text, mut relocations, mut types) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..30 {
        text.resize((number * 32 + if number < 15 { 0 } else { gap }) as usize, 0xcc);
        text.extend((0..20).map(|byte| (number * 7 + byte * 3) as u8 | 0x40));
        relocations.extend(words(&[text.len() as u32, 0, 2, 1, number * 32, 0]));
        types.extend(words(&[1 + number, 4 << 24 | 1, number * 9, 2, number + gap, 64]));
    }
    let types = [words(&[0x1_eb9f, 24, 0, types.len() as u32, types.len() as u32, 1]), types, vec![0]].concat();
    let symbols = [vec![0; 24], words(&[0, 1 << 16 | 3, 0, 0, 0, 0])].concat();
    let names = b"\0.text\0.BTF\0.strtab\0".to_vec();
    let (mut headers, mut bytes) = (vec![0; 64], vec![0; 64]);
    for (name, kind, flags, link, info, content) in [
        (1, 1, 6, 0, 0, text),
        (12, 4, 0, 4, 1, relocations),
        (7, 1, 0, 0, 0, types),
        (12, 2, 0, 5, 0, symbols),
        (12, 3, 0, 0, 0, names),
    ] {
        headers.extend(words(&[name, kind, flags, 0, 0, 0, bytes.len() as u32, 0, content.len() as u32, 0]));
        headers.extend(words(&[link, info, 0, 0, 0, 0]));
        bytes.extend(content);
    }
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18], bytes[58], bytes[60], bytes[62]) = (1, 62, 64, 6, 5);
    let table = bytes.len().to_le_bytes();
    bytes[40..48].copy_from_slice(&table);
    [bytes, headers].concat()
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

/// SELinux policies and paths; the pieces are those of `fuzz/fuzz_targets/contexts.rs`.
pub(super) fn policies(dir: &Path, max_len: usize) -> Result<()> {
    const POLICIES: [&str; 4] = [
        "/.* a\n/usr(/.*)? b\n/usr/bin/su -- c\n/etc -d <<none>>\0/usr/lib64 /usr/lib\0usr\nusr/bin/su\netc",
        "/usr/(?!foo$).* a\n/(.)\\2 b\n/.*(?<=\\.so) c\n\0\0usr/foo\naa\nx.so",
        "/[[:upper:]]{2,5}x? a\n/a|/b+ b\n/(?i)Q c\0/a /b\n/b /c\0AB\na\nq",
        "/(a{9}){9} a\n/(x+x+)+y b\n\0\0aaaaaaaaa\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    for (number, text) in POLICIES.iter().enumerate() {
        put(dir, max_len, &format!("policy{number}"), text.as_bytes())?;
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
