//! The option `policy=NAME`: image files that a trust policy judges, by the digest that the kernel measures.

use anyhow::{Result, ensure};

use super::scene::{Scene, content};
use super::signed::REQUEST;
use crate::context::Context;

crate::tests::tests! { "mounting", super::VERIFYING => [a_policy_judges_image_files] }

fn a_policy_judges_image_files(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "policy")?;
    scene.sh("composefs --repo=repo init && composefs --repo=repo create rootfs --name=built")?.success()?;
    let digest = scene.sh("composefs --repo=repo images --json | grep -o '[0-9a-f]\\{64\\}' | head -n 1")?.stdout;
    let image = format!("repo/images/{}", digest.trim());
    std::fs::write(scene.path("request"), REQUEST)?;
    for (key, certificate) in [("key.pem", "cert.pem"), ("x.pem", "y.pem")] {
        let make = "openssl req -x509 -newkey rsa:2048 -nodes -config request";
        scene.sh(&format!("{make} -keyout {key} -out {certificate}"))?.success()?;
    }
    let certificate = std::fs::read_to_string(scene.path("cert.pem"))?;
    std::fs::create_dir_all(scene.path("config/composefs"))?;
    std::fs::write(
        scene.path("config/composefs/policy.toml"),
        format!(
            "version = 1\n[key.kernel]\npkcs7 = \"\"\"\n{certificate}\"\"\"\n\
             [[rule]]\nname = \"debian/*\"\nkeys = [\"kernel\"]\n[[rule]]\nname = \"open\"\naccept = true\n"
        ),
    )?;
    let with_policy = "export XDG_CONFIG_HOME=$PWD/config XDG_STATE_HOME=$PWD/state;";
    let line = |name: &str, image: &str| {
        format!("{with_policy} mount -t composefs {image} -o basedir=repo/objects,policy={name} mnt")
    };
    let mounts = |line: &str| -> Result<()> {
        scene.sh(line)?.success()?;
        let found = std::fs::read_to_string(scene.path("mnt/file_a"))?;
        ensure!(found == content("file_a"), "{line}: another content");
        scene.sh("composefs umount mnt")?.success()?;
        Ok(())
    };

    // Without a signature, only the rule that demands none accepts.
    mounts(&line("open", &image))?;
    scene.refused(&line("debian/13", &image), &["refuses debian/13"])?;
    let sign = |key: &str, certificate: &str| {
        format!(
            "{with_policy} composefs digest --formatted {image} > formatted && openssl smime -sign -binary -noattr \
             -signer {certificate} -inkey {key} -outform der -in formatted -out image.p7s \
             && composefs --repo=repo sign built --pkcs7=image.p7s"
        )
    };
    // A key that the policy does not have.
    scene.sh(&sign("x.pem", "y.pem"))?.success()?;
    scene.refused(&line("debian/13", &image), &["refuses debian/13"])?;
    scene.sh(&sign("key.pem", "cert.pem"))?.success()?;
    mounts(&line("debian/13", &image))?;
    mounts(
        &line("debian/13", &image).replace("mount -t composefs", "composefs mount").replace(" mnt", " --via=fuse mnt"),
    )?;
    scene.refused(&line("other", &image), &["refuses other"])?;
    // The digest is that of the kernel: a file without fs-verity has none.
    scene.sh(&format!("cp {image} copy.img"))?.success()?;
    scene.refused(&line("open", "copy.img"), &["no fs-verity"])?;
    Ok(())
}
