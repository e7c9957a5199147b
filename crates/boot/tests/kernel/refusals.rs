//! Boots that are refused, each beside one that is not.

use std::fs;

use libcomposefs_image::Algorithm;

use crate::scene::{MOUNTED, Scene, write};
use crate::{Case, fs_verity, nothing, old_overlayfs};

pub(crate) const CASES: &[Case] = &[
    Case { name: "wrong_command_lines", needs: nothing, run: wrong_command_lines },
    Case { name: "an_image_that_is_not_there", needs: nothing, run: an_image_that_is_not_there },
    Case { name: "a_link_to_another_image", needs: nothing, run: a_link_to_another_image },
    Case { name: "links_of_another_form", needs: nothing, run: links_of_another_form },
    Case { name: "no_repository", needs: nothing, run: no_repository },
    Case { name: "a_wrong_configuration", needs: nothing, run: a_wrong_configuration },
    Case { name: "an_image_without_verity", needs: fs_verity, run: an_image_without_verity },
    Case { name: "a_question_mark_is_not_weaker", needs: fs_verity, run: a_question_mark_is_not_weaker },
    Case { name: "a_kernel_that_cannot_verify_files", needs: old_overlayfs, run: a_kernel_that_cannot_verify_files },
    Case { name: "an_image_that_is_none", needs: nothing, run: an_image_that_is_none },
    Case { name: "mount_points_are_directories", needs: nothing, run: mount_points_are_directories },
];

fn wrong_command_lines(scene: &Scene) {
    let good = scene.word();
    for (line, text) in [
        ("rw quiet", "no composefs= or composefs.digest= on the kernel"),
        ("composefs=abc", "composefs=abc: not a digest of 64 or 128"),
        (&format!("{good} composefs=abc"), "composefs=abc: not a digest"),
        ("composefs.digest=v3-sha256-12:00", "unknown format"),
        (&format!("{good} composefs.etc=disk"), "expected none, bind, overlay or transient"),
    ] {
        scene.boot(line, &[], MOUNTED).refused(&[text]);
    }
    if !cfg!(feature = "name") {
        scene.boot("rw composefs.name=os", &[], MOUNTED).refused(&["cannot boot by name", "boot_by_name=yes"]);
    }
    scene.boot(&good, &[], MOUNTED).ok().prints("MOUNTED");
}

fn an_image_that_is_not_there(scene: &Scene) {
    let hex = "ab".repeat(32);
    let ran = scene.boot(&format!("composefs={hex}"), &[], MOUNTED);
    ran.refused(&[
        "has no image that the command line names",
        &format!("wanted:   composefs={hex}"),
        &format!("there is: {}", scene.digest.to_hex()),
    ]);
    scene.boot(&format!("composefs=?{hex} {}", scene.word()), &[], MOUNTED).ok();
}

fn a_link_to_another_image(scene: &Scene) {
    let other = scene.add_image(Algorithm::Sha256, "other");
    scene.link(&scene.digest, &other);
    let ran = scene.boot(&scene.word(), &[], MOUNTED);
    if scene.has_verity {
        ran.refused(&["the image has another digest", &scene.digest.to_hex(), &other.to_hex()]);
        // Even without a demand: the kernel knows its digest.
        let line = format!("composefs=?{}", scene.digest.to_hex());
        scene.boot(&line, &[], MOUNTED).refused(&["the image has another digest"]);
    } else {
        ran.refused(&["leads to another image", &other.object_path()]);
    }
    scene.link(&scene.digest, &scene.digest);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
}

fn links_of_another_form(scene: &Scene) {
    let link = scene.path("disk/composefs/images").join(scene.digest.to_hex());
    let object = scene.object(&scene.digest);
    for target in [object.to_str().unwrap(), "../objects/../objects/x", "../../etc/passwd", ""] {
        fs::remove_file(&link).unwrap();
        if target.is_empty() {
            fs::copy(&object, &link).unwrap();
        } else {
            std::os::unix::fs::symlink(target, &link).unwrap();
        }
        scene.boot(&scene.word(), &[], MOUNTED).refused(&["is no link to an object of the repository"]);
    }
    scene.link(&scene.digest, &scene.digest);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
    // The directories on the way are no symlinks either.
    fs::rename(scene.path("disk/composefs"), scene.path("disk/elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", scene.path("disk/composefs")).unwrap();
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["no repository at"]);
}

fn no_repository(scene: &Scene) {
    fs::rename(scene.path("disk/composefs"), scene.path("kept")).unwrap();
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["no repository at", "Check root= of this boot entry"]);
    fs::rename(scene.path("kept"), scene.path("disk/composefs")).unwrap();
    scene.boot(&scene.word(), &[], MOUNTED).ok();
}

fn a_wrong_configuration(scene: &Scene) {
    let config = scene.path("config");
    let option = format!("--config={}", config.display());
    write(&config, "[etc]\nmount = bind\n");
    scene.boot(&scene.word(), &[&option], MOUNTED).refused(&["line 2"]);
    write(&config, "[etc]\nmount = \"none\"\n");
    scene.boot(&scene.word(), &[&option], MOUNTED).ok();
    let missing = format!("--config={}", scene.path("missing").display());
    scene.boot(&scene.word(), &[&missing], MOUNTED).ok();
}

fn an_image_without_verity(scene: &Scene) {
    let bytes = fs::read(scene.object(&scene.digest)).unwrap();
    scene.replace(&scene.digest, &bytes);
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["the image has no fs-verity", &scene.digest.to_hex()]);
    let ran = scene.boot(&format!("rw composefs=?{}", scene.digest.to_hex()), &[], "cat $T/etc/base").ok();
    assert!(ran.stdout.starts_with("base") && ran.stderr.contains("nothing vouches for the files"), "{ran:#?}");
}

fn a_question_mark_is_not_weaker(scene: &Scene) {
    let line = format!("rw composefs=?{}", scene.digest.to_hex());
    scene.boot(&line, &[], MOUNTED).ok();
    scene.demand_verity();
    scene.boot(&line, &[], MOUNTED).refused(&["the repository demands fs-verity", "Take the ? out of this boot entry"]);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
}

fn a_kernel_that_cannot_verify_files(scene: &Scene) {
    scene.seal_object(&scene.digest);
    let line = format!("rw composefs={}", scene.digest.to_hex());
    scene.boot(&line, &[], MOUNTED).refused(&["cannot verify files", "Linux 6.6 or newer"]);
    scene.boot(&scene.word(), &[], MOUNTED).ok().prints("MOUNTED");
}

fn an_image_that_is_none(scene: &Scene) {
    if scene.has_verity {
        return;
    }
    let bytes = fs::read(scene.object(&scene.digest)).unwrap();
    for changed in [vec![0; bytes.len()], bytes[..bytes.len() / 2].to_vec(), Vec::new()] {
        scene.replace(&scene.digest, &changed);
        scene.boot(&scene.word(), &[], MOUNTED).refused(&["BOOT REFUSED"]);
    }
    assert!(!scene.path("disk/state").exists(), "a refused boot made a state");
    scene.replace(&scene.digest, &bytes);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
}

fn mount_points_are_directories(scene: &Scene) {
    let digest = scene.add_image_of(Algorithm::Sha256, &["etc"], "no-var");
    scene.boot(&scene.word_of(&digest), &[], MOUNTED).refused(&["opening /var of the image"]);
    // The mount would be elsewhere: the first link leads to another directory of the image, the second one out of it.
    for link in ["var->etc", "var->/tmp"] {
        let digest = scene.add_image_of(Algorithm::Sha256, &["etc", link], link);
        scene.boot(&scene.word_of(&digest), &[], MOUNTED).refused(&["opening /var of the image"]);
    }
    let digest = scene.add_image_of(Algorithm::Sha256, &["etc", "var"], "no-sysroot");
    let ran = scene.boot(&scene.word_of(&digest), &[], MOUNTED).ok();
    assert!(ran.stderr.contains("the image has no /sysroot"), "{ran:#?}");
}
