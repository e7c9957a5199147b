//! Keys of tests, the statements that they sign, and policies that name them.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::scene::Scene;

/// A key, made of a number.
pub(crate) fn key(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

/// A statement about an image, with more keys of JSON.
pub(crate) struct SignedStatement<'s> {
    pub(crate) digest: Digest,
    pub(crate) name: &'s str,
    pub(crate) serial: u64,
    pub(crate) more: &'s str,
    pub(crate) key: u8,
}

impl SignedStatement<'_> {
    fn line(&self) -> String {
        let algorithm = self.digest.algorithm().verity_name();
        let (hex, name, serial, more) = (self.digest.to_hex(), self.name, self.serial, self.more);
        format!("{{\"composefs\":1,\"digest\":\"{algorithm}:{hex}\",\"name\":\"{name}\",\"serial\":{serial}{more}}}\n")
    }
}

impl Scene {
    /// Signs a statement, and puts both beside the image.
    pub(crate) fn sign(&self, signed: &SignedStatement<'_>) {
        let line = signed.line();
        let signature = key(signed.key).sign("composefs-image", HashAlg::Sha512, line.as_bytes()).unwrap();
        let directory = self.path("disk/composefs/signatures").join(signed.digest.to_hex());
        fs::create_dir_all(&directory).unwrap();
        let stem = format!("{:016x}", fs::read_dir(&directory).unwrap().count());
        fs::write(directory.join(format!("{stem}.statement")), &line).unwrap();
        fs::write(directory.join(format!("{stem}.ssh")), signature.to_pem(LineEnding::LF).unwrap()).unwrap();
    }

    /// Signs an image as `debian/13` by the key of the policy.
    pub(crate) fn sign_as(&self, digest: &Digest, serial: u64, more: &str) {
        self.sign(&SignedStatement { digest: *digest, name: "debian/13", serial, more, key: 1 });
    }

    /// Writes a policy with the keys `release` (number 1) and `audit` (2), more lines of `release`, and lines at the
    /// beginning and the end. It is older than the clock.
    pub(crate) fn policy(&self, first: &str, of_release: &str, last: &str) {
        let public = |number| key(number).public_key().to_openssh().unwrap();
        let text = format!(
            "version = 1\n{first}\n[key.release]\nssh = \"{}\"\n{of_release}\n[key.audit]\nssh = \"{}\"\n{last}\n",
            public(1),
            public(2)
        );
        fs::write(self.path("policy.toml"), text).unwrap();
        self.policy_of(1_700_000_000);
    }

    /// Sets the time at which the policy was made.
    pub(crate) fn policy_of(&self, seconds: u64) {
        let file = File::options().write(true).open(self.path("policy.toml")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    /// Writes the floors of the disk.
    pub(crate) fn floors(&self, text: &str) {
        let _ = fs::remove_dir(self.path("disk/state/serials.json"));
        let _ = fs::remove_file(self.path("disk/state/serials.json"));
        fs::create_dir_all(self.path("disk/state")).unwrap();
        fs::write(self.path("disk/state/serials.json"), text).unwrap();
    }
}

/// The rule for the images of the tests.
pub(crate) const RULE: &str = "[[rule]]\nname = \"debian/*\"\nkeys = [\"release\"]\n";
