//! Exchanges with a registry: a request with authorization, redirects and retries, and its answer.

mod authorizer;
mod hosts;
mod redirect;
mod refusal;
mod server;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode, Url};

use authorizer::Authorizer;
pub(crate) use authorizer::CallTarget;
use hosts::{Hosts, Trouble};
pub(crate) use hosts::{is_loopback, server as server_of};
pub(crate) use redirect::{is_same_origin, resolve};
pub(crate) use refusal::{is_transient, read_limited};
pub(crate) use server::ServerTarget;

use crate::error::{Error, ErrorKind, Subject};
use crate::options::ClientOptions;
use crate::progress::TransferProgress;
use crate::retry::{Backoff, retry_after};
use crate::transport::{Answer, HttpRequest};
use crate::wire;

/// All that exchanges share: hosts with their connections, credentials and tokens.
pub(crate) struct Exchange {
    hosts: Hosts,
    authorizer: Authorizer,
    progress: Arc<dyn TransferProgress>,
}

/// A request to a repository.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) subject: Subject,
    pub(crate) target: CallTarget,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Result of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// There is an answer, which may be a refusal.
    Done(Answer),
    /// A retry may help.
    Failed {
        /// Reason for a report.
        reason: String,
        /// Pause that the registry asks for.
        asked: Duration,
        /// Reason if there is no retry.
        kind: ErrorKind,
    },
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    pub(crate) fn new(options: ClientOptions, progress: Arc<dyn TransferProgress>) -> Result<Self, ErrorKind> {
        Ok(Self { hosts: Hosts::new(options)?, authorizer: Authorizer::default(), progress })
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        self.hosts.options()
    }

    pub(crate) fn progress(&self) -> &dyn TransferProgress {
        self.progress.as_ref()
    }

    /// Reports whether the options call a host insecure.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.hosts.is_insecure(host)
    }

    /// Returns the root URL of a server.
    pub(crate) fn base(&self, server: &str, is_insecure: bool) -> Result<Url, ErrorKind> {
        self.hosts.base(server, is_insecure)
    }

    /// Returns the retries for one transfer.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.options().retry)
    }

    /// Sends a request until there is an answer that a retry would not change.
    pub(crate) fn send(&self, call: &Call, backoff: &mut Backoff) -> Result<Answer, Error> {
        loop {
            match self.attempt(call)? {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Failed { reason, asked, kind } => {
                    if !self.pause(backoff, &reason, asked) {
                        return Err(Error::new(&call.subject, kind.after(backoff.used())));
                    }
                }
            }
        }
    }

    /// Sends a request once. Failures after which a retry may help are a value.
    pub(crate) fn attempt(&self, call: &Call) -> Result<Attempt, Error> {
        self.sort(self.once(call)).map_err(|kind| Error::new(&call.subject, kind))
    }

    /// Tells answers from failures after which a retry may help.
    fn sort(&self, result: Result<Answer, Trouble>) -> Result<Attempt, ErrorKind> {
        match result {
            Ok(answer) if !refusal::is_transient(answer.status) => Ok(Attempt::Done(answer)),
            Ok(answer) => {
                let asked = answer.header(&RETRY_AFTER).and_then(retry_after).unwrap_or_default();
                let refusal = refusal::of(answer);
                let limit = self.options().retry.longest_asked;
                if asked > limit {
                    let (seconds, limit) = (asked.as_secs(), limit.as_secs());
                    return Err(ErrorKind::MustWait { seconds, limit, refusal });
                }
                let reason = format!("the registry answers {refusal}");
                Ok(Attempt::Failed { reason, asked, kind: ErrorKind::Status(refusal) })
            }
            Err(Trouble::Final(kind)) => Err(kind),
            Err(Trouble::HttpFailure(failure)) => {
                let reason = failure.to_string();
                let kind = ErrorKind::Transfer { retries: 0, reason: reason.clone() };
                Ok(Attempt::Failed { reason, asked: Duration::ZERO, kind })
            }
        }
    }

    /// Sends a request, and reads a body of at most `limit` bytes. An answer that is no success is an error.
    pub(crate) fn fetch(&self, call: &Call, limit: u64) -> Result<WholeAnswer, Error> {
        let mut backoff = self.backoff();
        loop {
            let answer = self.send(call, &mut backoff)?;
            if !answer.status.is_success() {
                return Err(self.refuse(call, answer));
            }
            let headers = answer.headers.clone();
            match refusal::read_limited(answer.body, limit) {
                Ok(body) => return Ok(WholeAnswer { headers, body }),
                Err(Trouble::Final(kind)) => return Err(Error::new(&call.subject, kind)),
                Err(Trouble::HttpFailure(failure)) => {
                    let reason = failure.to_string();
                    if !self.pause(&mut backoff, &reason, Duration::ZERO) {
                        let retries = backoff.used();
                        return Err(Error::new(&call.subject, ErrorKind::Transfer { retries, reason }));
                    }
                }
            }
        }
    }

    /// Waits before a retry; `false` if there were enough.
    pub(crate) fn pause(&self, backoff: &mut Backoff, reason: &str, at_least: Duration) -> bool {
        if self.options().is_interrupted() {
            return false;
        }
        let Some(pause) = backoff.next() else { return false };
        let pause = pause.max(at_least);
        self.progress.retrying(reason, pause);
        let end = Instant::now() + pause;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if self.options().is_interrupted() {
                return false;
            }
            thread::sleep(left.min(Duration::from_millis(100)));
        }
        true
    }

    /// Makes an error of an answer that is no success.
    pub(crate) fn refuse(&self, call: &Call, answer: Answer) -> Error {
        let status = answer.status;
        let refusal = refusal::of(answer);
        let kind = match status {
            StatusCode::UNAUTHORIZED => match self.authorizer.search(&self.hosts, &call.target) {
                Ok(search) => ErrorKind::Unauthorized {
                    server: call.target.host.clone(),
                    had_credentials: search.credentials.is_some(),
                    searched: search.searched.clone(),
                    refusal,
                },
                Err(kind) => kind,
            },
            StatusCode::FORBIDDEN => ErrorKind::Denied(refusal),
            StatusCode::NOT_FOUND => ErrorKind::NotFound(refusal),
            _ => ErrorKind::Status(refusal),
        };
        Error::new(&call.subject, kind)
    }

    /// Sends a request once, and again after a challenge: with credentials, and with a new token if the old one ended.
    fn once(&self, call: &Call) -> Result<Answer, Trouble> {
        let is_of_registry = is_same_origin(&call.url, &call.target.base);
        let mut authorization = if is_of_registry { self.authorizer.known(&self.hosts, &call.target)? } else { None };
        let mut challenges_left = 2;
        loop {
            let mut headers = call.headers.clone();
            headers.extend(authorization.clone().map(|value| (AUTHORIZATION, value)));
            let request =
                HttpRequest { method: call.method.clone(), url: call.url.clone(), headers, body: call.body.clone() };
            let server = hosts::server(&call.url).unwrap_or_default();
            let is_insecure = if is_of_registry { call.target.is_insecure } else { self.is_insecure(&server) };
            let followed = redirect::send(&self.hosts, request, is_insecure)?;
            let answer = followed.answer;
            let is_challenged = answer.status == StatusCode::UNAUTHORIZED && followed.is_of_origin && is_of_registry;
            if !is_challenged || challenges_left == 0 {
                return Ok(answer);
            }
            challenges_left -= 1;
            let values = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
            let Some(challenge) = wire::choose(values) else { return Ok(answer) };
            let new = self.authorizer.answer(&self.hosts, &call.target, challenge, authorization.as_ref())?;
            if new.is_none() || new == authorization {
                return Ok(answer);
            }
            authorization = new;
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("options", self.options()).finish_non_exhaustive()
    }
}
