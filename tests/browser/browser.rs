//! A headless Chromium with a fresh profile, driven over the `WebDriver` protocol.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use fantoccini::{Client, ClientBuilder, Locator, key::Key};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::server::{PATIENCE, Server, look_for, wait_for};

/// How often a browser is started before a test gives up.
const START_TRIES: usize = 5;

/// Chromium's flags: no window, and no connection to anything but the server under test.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
];

/// A browser window, closed when dropped.
pub struct Browser {
    client: Client,
    session: String,
    driver: Driver,
    profile: tempfile::TempDir,
    allowed: Vec<&'static str>,
}

/// The pages' light or dark theme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Theme {
    Light,
    Dark,
}

impl Browser {
    /// A window of 1280 by 800 pixels in the light theme.
    /// Neither the driver nor Chromium starts every time: another process takes the port, or a busy machine is too slow
    /// for the driver's patience. So both are tried again, with a fresh profile.
    pub async fn start() -> Self {
        let mut failures = Vec::new();
        while failures.len() < START_TRIES {
            match Self::try_start().await {
                Ok(browser) => return browser,
                Err(why) => {
                    eprintln!("the browser does not start: {why}");
                    failures.push(why);
                }
            }
        }
        panic!("no browser in {START_TRIES} tries:\n{}", failures.join("\n"));
    }

    async fn try_start() -> Result<Self, String> {
        let profile = tempfile::tempdir().unwrap();
        let driver = Driver::start(profile.path()).await?;
        let mut flags: Vec<String> = FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
        flags.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        let downloads = profile.path().join("downloads");
        let capabilities = json!({
            "goog:chromeOptions": {
                "args": flags,
                "prefs": {"download.default_directory": downloads, "download.prompt_for_download": false},
            },
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let connected = ClientBuilder::new(HttpConnector::new())
            .capabilities(serde_json::from_value(capabilities).unwrap())
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await;
        let client = connected.map_err(|problem| format!("{problem}\n{}", driver.output()))?;
        let session = client.session_id().await.unwrap().unwrap();
        let browser = Self { client, session, driver, profile, allowed: Vec::new() };
        browser.size(1280, 800).await;
        browser.prefer(Theme::Light).await;
        Ok(browser)
    }

    /// Allows an error on the page's console, because the test itself causes it.
    pub fn allow_error(&mut self, part: &'static str) {
        self.allowed.push(part);
    }

    /// Sets the size of the page in pixels.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Sets the theme that the operating system reports as the user's preference.
    pub async fn prefer(&self, theme: Theme) {
        let value = if theme == Theme::Dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": value},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// A command of the `DevTools` protocol.
    pub async fn devtools(&self, command: &str, params: Value) -> Value {
        self.raw("POST", "/goog/cdp/execute", json!({"cmd": command, "params": params})).await
    }

    /// Goes to a page of the server, and waits until the page is filled.
    pub async fn open(&self, server: &Server, path: &str) {
        self.client.goto(&format!("http://{}{path}", server.http)).await.unwrap();
        self.until("the page to be filled", "document.body.dataset.ready === 'true'").await;
    }

    /// Opens another tab or window, and goes on in it.
    pub async fn another(&self, as_tab: bool) {
        let opened = self.client.new_window(as_tab).await.unwrap();
        self.client.switch_to_window(opened.handle).await.unwrap();
    }

    /// The page's path and query.
    pub async fn location(&self) -> String {
        self.string("location.pathname + location.search").await
    }

    /// The value of a JavaScript expression.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client.execute(&script, Vec::new()).await.unwrap_or_else(|problem| panic!("{expression}: {problem}"))
    }

    /// The value of an expression that is a string.
    pub async fn string(&self, expression: &str) -> String {
        self.value(expression).await.as_str().unwrap_or_else(|| panic!("{expression} is no string")).to_owned()
    }

    /// The value of an expression that is a number.
    pub async fn number(&self, expression: &str) -> f64 {
        self.value(expression).await.as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
    }

    /// Runs statements that end in a call of `done(value)`.
    pub async fn run_async(&self, statements: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {statements}");
        self.client.execute_async(&script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, what: &str, expression: &str) {
        let script = format!("try {{ return Boolean({expression}); }} catch (problem) {{ return String(problem); }}");
        let mut last = Value::Null;
        let seen = look_for(async || {
            last = self.client.execute(&script, Vec::new()).await.ok()?;
            (last == Value::Bool(true)).then_some(())
        })
        .await;
        if seen.is_none() {
            let file = self.screenshot("failure").await;
            let log = self.console().await;
            panic!("waited in vain for {what}: {expression} is {last}; see {}\n{log:#?}", file.display());
        }
    }

    /// The text of the first element that matches a selector, as a reader sees it.
    pub async fn text(&self, selector: &str) -> String {
        self.element(selector).await;
        self.string(&format!("document.querySelector({}).innerText.trim()", json!(selector))).await
    }

    /// Clicks like a person on the first element that matches a selector.
    pub async fn click(&self, selector: &str) {
        // Scroll the element out from under the bar at the top.
        let script = "arguments[0].scrollIntoView({block: 'center'})";
        wait_for(&format!("a click on {selector}"), async || {
            let element = self.element(selector).await;
            let seen = self.client.execute(script, vec![serde_json::to_value(&element).unwrap()]).await;
            // Look again for an element that was redrawn in between.
            match seen.and(element.click().await.map(|()| Value::Null)) {
                Ok(_) => Some(()),
                Err(problem) if problem.is_stale_element_reference() => None,
                Err(problem) => panic!("click on {selector}: {problem}"),
            }
        })
        .await;
    }

    /// Types into the first element that matches a selector.
    pub async fn enter(&self, selector: &str, text: &str) {
        let field = self.element(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Types at the focus.
    pub async fn press(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// Presses one key at the focus.
    pub async fn press_key(&self, key: Key) {
        self.press(&String::from(char::from(key))).await;
    }

    async fn element(&self, selector: &str) -> fantoccini::elements::Element {
        self.client
            .wait()
            .at_most(PATIENCE)
            .for_element(Locator::Css(selector))
            .await
            .unwrap_or_else(|problem| panic!("{selector}: {problem}"))
    }

    /// Writes a picture of the page to `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name).with_extension("png");
        std::fs::write(&file, self.client.screenshot().await.unwrap()).unwrap();
        file
    }

    /// The content of a file that the page has offered for download.
    pub async fn download(&self, name: &str) -> Vec<u8> {
        let file = self.profile.path().join("downloads").join(name);
        wait_for(&format!("the download of {name}"), async || {
            std::fs::read(&file).ok().filter(|bytes| !bytes.is_empty())
        })
        .await
    }

    /// The errors on the page's console since the last call.
    pub async fn console(&self) -> Vec<String> {
        let log = self.raw("POST", "/se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].to_string())
            .filter(|message| !self.allowed.iter().any(|allowed| message.contains(allowed)))
            .collect()
    }

    /// Ends the browser, and fails if the page reported an error.
    pub async fn finish(self) {
        assert_eq!(self.console().await, Vec::<String>::new(), "errors on the page's console");
    }

    async fn raw(&self, method: &'static str, path: &str, body: Value) -> Value {
        let (port, path) = (self.driver.port, format!("/session/{}{path}", self.session));
        let answer = tokio::task::spawn_blocking(move || request(port, method, &path, &body)).await.unwrap();
        answer.unwrap_or_else(|problem| panic!("{problem}\n{}", self.driver.output()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium outlives a driver that is only killed.
        let _ = request(self.driver.port, "DELETE", &format!("/session/{}", self.session), &json!({}));
    }
}

/// A `chromedriver` process; killed when dropped.
struct Driver {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Driver {
    /// Starts a driver on a port of its own choice, with its output in `folder`.
    async fn start(folder: &Path) -> Result<Self, String> {
        let log = folder.join("chromedriver.log");
        let output = File::create(&log).unwrap();
        let process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("chromedriver is installed (Debian: chromium-driver; scripts/need.sh installs it)");
        let mut driver = Self { process, port: 0, log };
        let port = look_for(async || match driver.process.try_wait().unwrap() {
            Some(status) => Some(Err(format!("chromedriver ended with {status}\n{}", driver.output()))),
            None => announced_port(&driver.output()).map(Ok),
        })
        .await;
        driver.port = port.ok_or_else(|| format!("chromedriver names no port\n{}", driver.output()))??;
        Ok(driver)
    }

    /// The driver's output.
    fn output(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port in "`ChromeDriver` was started successfully on port 35063."
fn announced_port(output: &str) -> Option<u16> {
    let (port, _) = output.split_once("successfully on port ")?.1.split_once('.')?;
    port.parse().ok()
}

/// The value of the answer to a `WebDriver` request that the client has no method for.
fn request(port: u16, method: &str, path: &str, body: &Value) -> io::Result<Value> {
    let body = body.to_string();
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all((head + &body).as_bytes())?;
    // The driver keeps the connection open, so the head of the answer says where it ends.
    let mut answer = BufReader::new(socket);
    let mut length = 0;
    for line in answer.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut json = vec![0; length];
    answer.read_exact(&mut json)?;
    Ok(serde_json::from_slice::<Value>(&json).map(|value| value["value"].clone()).unwrap_or_default())
}
