//! The outline as a page that contains its styles, the drawing library and the data.

use super::{
    chart::Chart,
    outline::{Block, Tone},
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The document.
pub(super) fn page(blocks: &[Block]) -> String {
    let title =
        blocks.iter().find_map(|block| if let Block::Title(title, _) = block { Some(title.as_str()) } else { None });
    let title = escape(title.unwrap_or_default());
    let mut charts = Vec::new();
    let body: String = blocks.iter().map(|block| write(block, &mut charts)).collect();
    let drawing = if charts.is_empty() { String::new() } else { drawing(&charts) };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · audit report</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>Made by lrs {version}: the same record gives the same report.</footer>\n{drawing}</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// The drawing library, the data, and the script that draws.
fn drawing(charts: &[&Chart]) -> String {
    let data = serde_json::Value::from(charts.iter().map(|chart| chart.data.clone()).collect::<Vec<_>>());
    // A less-than sign could end the script element; JSON has another way to write it.
    let data = data.to_string().replace('<', "\\u003c");
    format!(
        "{library}\n<script type=\"application/json\" id=\"charts\">{data}</script>\n<script>\n{SCRIPT}</script>\n",
        library = lrs_plotly::script_element(),
    )
}

fn write<'a>(block: &'a Block, charts: &mut Vec<&'a Chart>) -> String {
    match block {
        Block::Title(title, about) => format!(
            "<header><p class=\"kind\">Audit report</p><h1>{}</h1><p class=\"about\">{}</p></header>\n",
            escape(title),
            escape(about)
        ),
        Block::Verdict(tone, text) => {
            let class = match tone {
                Tone::Good => "good",
                Tone::Bad => "bad",
                Tone::Open => "open",
            };
            format!("<p class=\"verdict {class}\">{}</p>\n", escape(text))
        }
        Block::Tiles(tiles) => {
            let tile = |[what, how_much, beside]: &[String; 3]| {
                format!(
                    "<li><span>{}</span><strong>{}</strong><span>{}</span></li>\n",
                    escape(what),
                    escape(how_much),
                    escape(beside)
                )
            };
            format!("<ul class=\"tiles\">\n{}</ul>\n", tiles.iter().map(tile).collect::<String>())
        }
        Block::Section(text) => format!("<h2>{}</h2>\n", escape(text)),
        Block::Subsection(text) => format!("<h3>{}</h3>\n", escape(text)),
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::List(items) => {
            let item = |item: &String| format!("<li>{}</li>\n", escape(item));
            format!("<ul>\n{}</ul>\n", items.iter().map(item).collect::<String>())
        }
        Block::Details(summary, blocks) => {
            let inner: String = blocks.iter().map(|block| write(block, charts)).collect();
            format!("<details><summary>{}</summary>\n{inner}</details>\n", escape(summary))
        }
        Block::Table(texts, head, rows) => table(*texts, head, rows),
        Block::Chart(chart) => {
            charts.push(chart);
            let title = escape(&chart.title);
            format!(
                "<figure><figcaption>{title}</figcaption><div class=\"chart\" role=\"img\" aria-label=\"{title}\"></div></figure>\n"
            )
        }
    }
}

fn table(texts: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let class = |i: usize| if i < texts { "" } else { " class=\"n\"" };
    let title = |(i, title): (usize, &&str)| format!("<th{}>{}</th>", class(i), escape(title));
    let head: String = head.iter().enumerate().map(title).collect();
    let row = |cells: &Vec<String>| {
        let cells = cells.iter().enumerate().map(|(i, cell)| format!("<td{}>{}</td>", class(i), escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = rows.iter().map(row).collect();
    format!("<div class=\"table\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

/// Text, escaped for an element or an attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_named_is_text_in_the_page_and_in_its_data() {
        let evil = "</script><img src=x onerror='a()'>\"&";
        let chart = Chart { title: evil.to_owned(), data: json!({"name": evil}) };
        let blocks = [
            Block::Title(evil.to_owned(), evil.to_owned()),
            Block::Table(1, vec!["a"], vec![vec![evil.to_owned()]]),
            Block::List(vec![evil.to_owned()]),
            Block::Chart(chart),
        ];
        let page = page(&blocks);
        assert!(!page.contains("<img src=x"), "markup came through");
        assert!(page.contains("\"name\":\"\\u003c/script>\\u003cimg"));
        assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror=&#39;a()&#39;&gt;&quot;&amp;"));
    }

    #[test]
    fn a_page_has_the_drawing_library_only_if_it_has_charts() {
        let chart = Chart { title: "loss".to_owned(), data: json!({}) };
        assert!(page(&[Block::Chart(chart)]).contains(lrs_plotly::SCRIPT));
        assert!(page(&[Block::Text("x".to_owned())]).len() < 20_000);
    }
}
