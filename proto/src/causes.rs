//! An error as people read it: with its causes, and with a hint where a cause is a riddle.

use std::error::Error;

/// An error and its causes in one line each, without repeating a cause that its error already tells.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    // Where object_store finds no credentials it asks the cloud's instance for its role.
    let asked = text.contains("169.254.169.254") || text.contains("169.254.170.2");
    if asked && !text.contains("AWS_ACCESS_KEY_ID") {
        text.push_str(NO_CREDENTIALS);
    }
    text
}

const NO_CREDENTIALS: &str = "; no S3 credentials are set and this machine has no instance role: set AWS_ACCESS_KEY_ID, \
                              AWS_SECRET_ACCESS_KEY and AWS_REGION, and AWS_ENDPOINT_URL (with AWS_ALLOW_HTTP=true for http) \
                              for a store that is not Amazon's";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("out.json cannot be written")]
    struct Wrapped(#[source] std::io::Error);

    #[test]
    fn missing_s3_credentials_are_told_with_the_variables_that_give_them() {
        // As object_store 0.13 says it.
        let said = "Error performing PUT http://169.254.169.254/latest/api/token in 7 ms - 403 Forbidden";
        let text = chain(&Wrapped(std::io::Error::other(said)));
        assert!(text.contains(said) && text.contains("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"), "{text}");
    }

    #[test]
    fn a_message_tells_every_cause_once() {
        let error = Wrapped(std::io::Error::other("no space left"));
        assert_eq!(chain(&error), "out.json cannot be written: no space left");
    }
}
