//! Asks a program's HTTP port as a prober or a scraper does, and takes OpenMetrics text apart.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;

/// GET; the status and the body.
///
/// # Panics
/// If nothing answers.
pub fn get(url: &str) -> (u16, String) {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (address, path) = rest.split_once('/').expect("a path");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("something listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::get(format!("/{path}")).header("host", address);
        let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("it answers");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("it answers whole").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("it is text"))
    })
}

/// Every sample by its name and labels as written. Each must belong to a metric whose type was said.
///
/// # Panics
/// If the text is not OpenMetrics.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let (mut types, mut samples) = (Vec::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').expect("a type");
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            types.push(name.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let family = name.split('{').next().expect("a name");
            let ends = ["", "_total", "_bucket", "_sum", "_count"];
            let known = |t: &String| ends.iter().any(|end| format!("{t}{end}") == family);
            assert!(types.last().is_some_and(known), "{line}");
            let again = samples.insert(name.to_owned(), value.parse().expect("a number"));
            assert!(again.is_none(), "said twice: {line}");
        }
    }
    samples
}
