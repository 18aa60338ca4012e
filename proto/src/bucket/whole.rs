//! An answer whose body breaks off is a lost one. object_store goes on with a body itself where the store names its content by an
//! ETag; others, lists among them, are read whole here, so that their requests are tried again as every other is.
//!
//! In: a service that carries out requests. Out: the same, with such bodies whole. Must not hold what nobody wants whole: a body
//! that is taken piece by piece may be larger than memory.

use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};

/// Goes with a read whose body is wanted whole if it has at most so many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted(pub(super) u64);

/// The service.
#[derive(Debug)]
pub(super) struct WholeBodies(pub(super) HttpClient);

#[async_trait::async_trait]
impl HttpService for WholeBodies {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let reads = request.method().as_str() == "GET";
        let lists = request.uri().query().is_some_and(|query| query.contains("list-type="));
        let wanted = request.extensions().get::<Wanted>().map(|wanted| wanted.0);
        let most = if lists { Some(u64::MAX) } else { wanted };
        let answer = self.0.execute(request).await?;
        if !reads || !is_to_be_whole(&answer, most) {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        // Of every kind of error that a body has this is the one after which a read is tried again.
        let body = body.bytes().await.map_err(|e| HttpError::new(HttpErrorKind::Interrupted, e))?;
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}

fn is_to_be_whole(answer: &HttpResponse, most: Option<u64>) -> bool {
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let length = header("content-length").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // Of a refusal whose body broke off nothing would be known, not even that it says "absent".
    let refused = !answer.status().is_success();
    refused || (header("etag").is_none() && most.is_some_and(|most| length <= most))
}
