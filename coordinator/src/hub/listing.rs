//! What a repository holds at a revision: its commit and its files; and of one file how large it is and what its content hashes to.

use super::checksum::Checksum;
use super::error::HubError;
use super::http::{Answer, Hub};
use super::repository::{Kind, Repository, stays_inside};
use reqwest::Method;

/// Most bytes of a listing: a hundred thousand files.
const MOST: usize = 32 << 20;

/// A repository at a revision.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The repository.
    pub repository: Repository,
    /// What was asked for.
    pub revision: String,
    /// The commit that it is.
    pub commit: String,
    /// Names of its files.
    pub files: Vec<String>,
}

/// What the hub says of one file.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name in the repository.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// What they hash to.
    pub checksum: Checksum,
}

#[derive(serde::Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    /// One of its files, for messages.
    pub(super) fn shown(&self, file: &str) -> String {
        format!("{file} of {} at revision {}", self.repository, self.revision)
    }

    /// True if it has a file of this name.
    pub fn has(&self, file: &str) -> bool {
        self.files.iter().any(|known| known == file)
    }

    /// It as a resolved sweep names it.
    pub fn pinned(&self) -> String {
        let kind = match self.repository.kind() {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        format!("hf://{kind}{}@{}", self.repository.name(), self.commit)
    }
}

impl Hub {
    /// What a repository holds at a branch, tag, reference or commit.
    pub async fn list(&self, repository: &Repository, revision: &str) -> Result<Listing, HubError> {
        let what = format!("{repository} at revision {revision}");
        if !stays_inside(revision) {
            return Err(HubError::Name { kind: repository.kind().as_str(), name: what });
        }
        let head = ["api", repository.kind().plural()];
        let parts = head.into_iter().chain(repository.name().split('/')).chain(["revision", revision]);
        let mut answer = self.ask(Method::GET, self.url(parts)).await?;
        if answer.response.status() != 200 {
            return Err(self.refusal(&answer, repository, what));
        }
        let host = self.host();
        let bad = |why: String| HubError::Answer { host: host.clone(), what: what.clone(), why };
        let body = body(&mut answer).await?.ok_or_else(|| bad(format!("more than {MOST} bytes")))?;
        let (commit, files) = parse(&body).map_err(bad)?;
        let (repository, revision) = (repository.clone(), revision.to_owned());
        Ok(Listing { repository, revision, commit, files })
    }

    /// What the hub says of a file of a listing.
    pub async fn facts(&self, listing: &Listing, file: &str) -> Result<Facts, HubError> {
        let what = listing.shown(file);
        let url = self.resolve(listing, file);
        let answer = self.ask(Method::HEAD, url).await?;
        let status = answer.response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(&answer, &listing.repository, what));
        }
        let bad = |why: &str| HubError::Answer { host: self.host(), what: what.clone(), why: why.to_owned() };
        let etag = answer.header("x-linked-etag").or_else(|| last(&answer, "etag"));
        let size = answer.header("x-linked-size").or_else(|| last(&answer, "content-length"));
        let checksum = etag.and_then(Checksum::from_etag);
        let checksum = checksum.ok_or_else(|| bad("no ETag that is a SHA-256 or git's SHA-1"))?;
        let size = size.and_then(|text| text.parse().ok()).ok_or_else(|| bad("no size"))?;
        Ok(Facts { file: file.to_owned(), size, checksum })
    }

    /// Where a file of a commit is.
    pub(super) fn resolve(&self, listing: &Listing, file: &str) -> url::Url {
        let parts = listing.repository.path().into_iter().chain(["resolve", &listing.commit]);
        self.url(parts.chain(file.split('/')))
    }
}

/// The commit and the files that a listing of these bytes names, or why it is none.
pub fn parse(body: &[u8]) -> Result<(String, Vec<String>), String> {
    let info: Info = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if !Checksum::from_etag(&info.sha).is_some_and(|sha| sha.hex() == info.sha && sha.hex().len() == 40) {
        return Err(format!("sha: found {:?}, expected a commit", info.sha));
    }
    let files: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    match files.iter().find(|file| !stays_inside(file)) {
        Some(file) => Err(format!("found a file {file:?}, expected names inside the repository")),
        None => Ok((info.sha, files)),
    }
}

/// A header of the last answer: of those before it these are about the redirect.
fn last<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.response.headers().get(name)?.to_str().ok()
}

/// The body of an answer; `None` if it is longer than any listing.
pub(super) async fn body(answer: &mut Answer) -> Result<Option<Vec<u8>>, HubError> {
    let host = answer.host();
    let mut body = Vec::new();
    loop {
        let chunk = answer.response.chunk().await;
        let cut = |e: reqwest::Error| HubError::Cut { host: host.clone(), source: Some(e.without_url()) };
        let Some(chunk) = chunk.map_err(cut)? else {
            return Ok(Some(body));
        };
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return Ok(None);
        }
    }
}
