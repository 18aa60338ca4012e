//! What a reader sees: the pages in a real browser, on a phone and on a desk. On made-up records; no model is run.
//!
//! A script injected into a copy of the page measures every text of every figure and tells the page around it, which headless
//! Chromium prints. The page lies in a frame because a headless window has a least width above a phone's.

use espalier::merge::collect::Found;
use espalier::report::write::Report;
use espalier_tests::synthetic::synthetic;
use std::path::Path;
use std::process::Command;

/// Pairs of texts of one figure whose boxes share more than a pixel each way, texts that leave their figure, marks without a value,
/// and whether the page is wider than the window.
const CHECK: &str = r#"<script>
addEventListener('load', () => {
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    const title = svg.querySelector('title').textContent;
    const [marks, values] = ['.mark', 'text.value'].map(s => svg.querySelectorAll(s).length);
    if (marks > values) found.push(`${title}: ${marks} marks and ${values} values`);
    texts.forEach(([a, p], i) => {
      if (p.left < frame.left - 1 || p.right > frame.right + 1 || p.top < frame.top - 1 || p.bottom > frame.bottom + 1)
        found.push(`${title}: "${a}" leaves its figure`);
      for (const [b, q] of texts.slice(i + 1))
        if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
            Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3)
          found.push(`${title}: "${a}" lies on "${b}"`);
    });
  }
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) found.push(`the page is ${wide} px wider than its window of ${innerWidth}`);
  const texts = document.querySelectorAll('figure svg text').length;
  parent.postMessage(JSON.stringify({ width: innerWidth, texts, found }), '*');
});
</script>"#;

fn chromium() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        let loud =
            "no Chromium here: what the report looks like in a browser is NOT tested (install chromium)";
        assert!(std::env::var_os("CI").is_none(), "{loud}");
        println!("\n*** SKIPPED: {loud} ***\n");
    }
    found.map(str::to_owned)
}

/// The page's own account of itself in a window of this width.
fn check(chromium: &str, page: &Path, width: u32) -> serde_json::Value {
    let profile = tempfile::tempdir().expect("a folder");
    let frame = page.with_file_name("frame.html");
    let around = format!(
        "<!doctype html><body><iframe src=\"index.html\" style=\"border:0;width:{width}px;height:900px\"></iframe>\
         <script>addEventListener('message', e => document.body.dataset.checked = e.data)</script></body>"
    );
    std::fs::write(&frame, around).expect("the frame is written");
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args([
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--dump-dom",
            "--virtual-time-budget=20000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg("--window-size=1500,1000")
        .arg(format!("file://{}", frame.display()))
        .output()
        .expect("chromium starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    let account = dom.split("data-checked=\"").nth(1).and_then(|rest| rest.split('"').next());
    let account =
        account.unwrap_or_else(|| panic!("no account: {}", String::from_utf8_lossy(&output.stderr)));
    let account =
        account.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&account).expect("the account is JSON")
}

#[test]
fn no_text_of_a_figure_lies_on_another_and_no_page_is_wider_than_its_window() {
    let Some(chromium) = chromium() else { return };
    for seeds in [1, 3] {
        let mut made = synthetic(seeds);
        // Some holes, as in a sweep that goes on.
        made.cells.truncate(made.cells.len() - 9);
        made.cells.remove(12);
        let mut found = Found::empty(made.sweep);
        found.variants = made.variants.into_iter().map(|r| (r.key, r)).collect();
        found.cells = made.cells.into_iter().map(|r| (r.key, r)).collect();
        let report = Report::new(&found, None);
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("index.html");
        for width in [390, 1440] {
            let text = report.file("index.html").expect("the report has it");
            std::fs::write(&page, text.replace("</body>", &format!("{CHECK}</body>")))
                .expect("the page is written");
            let account = check(&chromium, &page, width);
            assert_eq!(account["width"], width, "{account}");
            assert!(account["texts"].as_u64().is_some_and(|n| n > 500), "{account}");
            assert_eq!(account["found"], serde_json::json!([]), "seeds {seeds}, width {width}");
        }
    }
}
