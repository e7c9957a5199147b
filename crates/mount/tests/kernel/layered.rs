//! Images of layers, joined to one file system: with whiteouts, in every way there is.

use std::fs;
use std::path::PathBuf;

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Options, Plan, release};

use crate::mounts::ways;
use crate::scratch::{OBJECT, Scratch, content};
use crate::{Case, nothing};

pub(crate) const CASES: &[Case] =
    &[Case { name: "layers_are_joined_in_every_way", needs: nothing, run: layers_are_joined_in_every_way }];

/// Writes an image with these entries below the root.
fn put_layer(scratch: &Scratch, name: &str, entries: &[String]) -> PathBuf {
    let mut parser = Parser::new(dump::Options::default());
    parser.push_line(b"/ 0 40755 2 0 0 0 1.0 - - -").unwrap();
    entries.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let tree = parser.finish().unwrap().tree;
    let mut bytes = Vec::new();
    Image::plan(&tree, Versions::exactly(1)).unwrap().write(&mut bytes).unwrap();
    fs::write(scratch.path(name), bytes).unwrap();
    scratch.path(name)
}

pub(crate) fn mount(scratch: &Scratch, images: &[PathBuf], allowed: KernelFeatures) -> Result<(), Error> {
    let options = || Options::default().with_basedir(scratch.path("objects"));
    let plan = |options, path: &PathBuf, image: &ImageFile| Plan::new(path, &image.header().unwrap(), options);
    let layers: Vec<(Plan, ImageFile)> = images
        .iter()
        .map(|path| {
            let image = ImageFile::open(path).unwrap();
            (plan(options(), path, &image), image)
        })
        .collect();
    let whole = plan(Options::default(), &images[0], &layers[0].1);
    whole.mount_layers_at(&layers, &scratch.path("mnt"), allowed)
}

fn layers_are_joined_in_every_way(scratch: &Scratch) {
    let digest = OBJECT.replace('/', "");
    let directory = "/dir 0 40755 2 0 0 0 1.0 - - -".to_owned();
    let external = format!("/dir/external {} 100644 1 0 0 0 1.0 {OBJECT} - {digest}", content().len());
    let file = |name: &str| format!("/dir/{name} 1 100644 1 0 0 0 1.0 - x -");
    let lower = put_layer(scratch, "lower", &[directory.clone(), external, file("gone"), file("other")]);
    let upper =
        put_layer(scratch, "upper-layer", &[directory, "/dir/gone 0 20000 1 0 0 0 1.0 - - -".into(), file("new")]);
    let numbers: Vec<u32> = release().split(['.', '-']).filter_map(|number| number.parse().ok()).take(2).collect();
    for allowed in ways() {
        let mounted = mount(scratch, &[lower.clone(), upper.clone()], allowed);
        if numbers[..] < [6, 7][..] {
            // The whiteouts would be files there.
            assert!(matches!(mounted, Err(Error::Kernel { .. })), "{mounted:?}");
            assert_eq!(scratch.mountinfo(), "");
            continue;
        }
        mounted.unwrap_or_else(|error| panic!("{allowed:?}: {error}"));
        let names = fs::read_dir(scratch.path("mnt/dir")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["external", "new", "other"], "{allowed:?}");
        assert_eq!(scratch.read("dir/external").unwrap(), content(), "{allowed:?}");
        scratch.umount();
    }
}
