//! AWS's profile files: `~/.aws/credentials` and `~/.aws/config`, or where `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` say.
//!
//! In: environment variables. Out: the settings of the profile that they name, as the variables of the same meaning. object_store
//! reads no such file. Roles to assume, sign-on and credential processes are not understood: their profile gives no keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of a profile that we understand, and the variable each stands for.
const KEYS: [(&str, &str); 5] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("region", "AWS_REGION"),
    ("endpoint_url", "AWS_ENDPOINT_URL"),
];

/// What the chosen profile says, by variable. `Err`: a profile that was asked for by name is in none of the files.
pub(super) fn settings(env: &BTreeMap<String, String>) -> Result<BTreeMap<&'static str, String>, String> {
    let asked = env.get("AWS_PROFILE").filter(|name| !name.is_empty());
    let name = asked.map_or("default", String::as_str);
    let home = |file: &str| env.get("HOME").map(|home| PathBuf::from(home).join(".aws").join(file));
    let place = |var: &str, file: &str| env.get(var).map(PathBuf::from).or_else(|| home(file));
    let files = [place("AWS_CONFIG_FILE", "config"), place("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
    let mut found = BTreeMap::new();
    let mut known = false;
    for file in files.iter().flatten() {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        known |= read(&text, name, &mut found);
    }
    match asked {
        Some(name) if !known => {
            let looked: Vec<String> = files.iter().flatten().map(|f| f.display().to_string()).collect();
            Err(format!("AWS_PROFILE names profile {name:?}, which is in none of {}", looked.join(", ")))
        }
        _ => Ok(found),
    }
}

/// Takes the profile's settings from a file; `false` if the file has no such profile.
fn read(text: &str, profile: &str, into: &mut BTreeMap<&'static str, String>) -> bool {
    let (mut known, mut inside) = (false, false);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            // config writes `[profile NAME]` where credentials writes `[NAME]`.
            let section = section.trim();
            inside = section.strip_prefix("profile ").unwrap_or(section).trim() == profile;
            known |= inside;
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && let Some((_, variable)) =
                KEYS.iter().find(|(name, _)| *name == key.trim().to_ascii_lowercase())
        {
            into.insert(variable, value.trim().to_owned());
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = A\naws_secret_access_key = a=b/c\n\n# other\n[lab]\n\
                               aws_access_key_id=B\naws_secret_access_key=b\naws_session_token = t\n";
    const CONFIG: &str =
        "[default]\nregion = eu-west-1\n[profile lab]\nregion=local\nendpoint_url = http://lab:9000\n";

    fn env(folder: &std::path::Path, profile: Option<&str>) -> BTreeMap<String, String> {
        std::fs::create_dir_all(folder.join(".aws")).unwrap();
        std::fs::write(folder.join(".aws/credentials"), CREDENTIALS).unwrap();
        std::fs::write(folder.join(".aws/config"), CONFIG).unwrap();
        let home = ("HOME".to_owned(), folder.to_str().unwrap().to_owned());
        let profile = profile.map(|p| ("AWS_PROFILE".to_owned(), p.to_owned()));
        [home].into_iter().chain(profile).collect()
    }

    #[test]
    fn a_profile_is_read_from_both_files_and_only_it() {
        let folder = tempfile::tempdir().unwrap();
        let found = settings(&env(folder.path(), None)).unwrap();
        let said: Vec<(&str, &str)> = found.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let expected =
            [("AWS_ACCESS_KEY_ID", "A"), ("AWS_REGION", "eu-west-1"), ("AWS_SECRET_ACCESS_KEY", "a=b/c")];
        assert_eq!(said, expected);
        let lab = settings(&env(folder.path(), Some("lab"))).unwrap();
        assert_eq!(lab["AWS_ENDPOINT_URL"], "http://lab:9000");
        assert_eq!((lab["AWS_ACCESS_KEY_ID"].as_str(), lab["AWS_SESSION_TOKEN"].as_str()), ("B", "t"));
    }

    #[test]
    fn a_profile_that_was_asked_for_and_is_nowhere_is_told_with_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let why = settings(&env(folder.path(), Some("nobody"))).unwrap_err();
        assert!(why.contains("\"nobody\"") && why.contains(".aws/credentials"), "{why}");
    }
}
