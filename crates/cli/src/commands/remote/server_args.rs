//! Options for the servers of remotes.

/// Options for remotes on servers. A build without network has none.
#[derive(clap::Args, Clone, Debug)]
#[cfg_attr(not(feature = "network"), derive(Default))]
pub(crate) struct ServerArgs {
    /// File with credentials for a registry (oci://), in the form of podman's auth.json [default: the files of podman
    /// and docker]
    #[cfg(feature = "network")]
    #[arg(long, value_name = "FILE", help_heading = "Servers")]
    pub(super) authfile: Option<std::path::PathBuf>,
    /// With `false`, the server of the remote may use plain HTTP or a certificate that cannot be verified
    #[cfg(feature = "network")]
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        help_heading = "Servers"
    )]
    pub(super) tls_verify: bool,
}

#[cfg(feature = "network")]
impl Default for ServerArgs {
    fn default() -> Self {
        Self { authfile: None, tls_verify: true }
    }
}

impl ServerArgs {
    /// Refuses credentials that a remote of this kind does not read.
    pub(super) fn expect_usable(&self, scheme: Option<&str>) -> anyhow::Result<()> {
        #[cfg(feature = "network")]
        if self.authfile.is_some() && scheme != Some("oci") {
            let place = match scheme {
                Some("https" | "http") => "a web server has its credentials in ~/.netrc",
                Some("s3") => "S3 has its keys in the environment or ~/.aws/credentials",
                Some("ssh") => "ssh has keys of its own",
                _ => "this remote needs no credentials",
            };
            anyhow::bail!("--authfile is for registries (oci://): {place}");
        }
        let _ = scheme;
        Ok(())
    }
}
