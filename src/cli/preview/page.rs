//! Curves as a page: a chart for each output, and the drawing library.

use serde_json::{Value, json};

use super::{
    Preview,
    columns::{Column, Output, columns},
};

/// A page that needs neither network nor server.
pub(super) fn html(previews: &[Preview]) -> String {
    let columns = columns(previews);
    let steps = previews.first().map_or(&[][..], |preview| &preview.curve.steps);
    let charts = Output::ALL.into_iter().filter_map(|output| {
        let shown: Vec<&Column> = columns.iter().filter(|column| column.output == output).collect();
        (!shown.is_empty()).then(|| chart(output, steps, &shown))
    });
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n{script}\n</head>\n\
         <body style=\"font-family: sans-serif; margin: 2rem\">\n<h1>{title}</h1>\n{charts}</body>\n</html>\n",
        title = escape(&previews.iter().map(|preview| preview.label.as_str()).collect::<Vec<_>>().join(", ")),
        script = lrs_plotly::script_element(),
        charts = charts.collect::<String>(),
    )
}

/// A chart of the columns of one output, and the script that draws it.
fn chart(output: Output, steps: &[u64], columns: &[&Column]) -> String {
    let id = output.name();
    // A jump is drawn as a jump: lines are straight between two steps.
    let trace = |column: &&Column| {
        json!({
            "type": "scatter",
            "mode": "lines",
            "line": { "shape": "linear" },
            "name": escape(&format!("{} {}", column.label, column.group)),
            "x": steps,
            "y": column.values,
        })
    };
    let traces: Vec<Value> = columns.iter().map(trace).collect();
    let axis = |title: &str| json!({ "title": { "text": title } });
    let layout = json!({ "xaxis": axis("step"), "yaxis": axis(id), "showlegend": true });
    format!(
        "<div id=\"{id}\"></div>\n<script>Plotly.newPlot(\"{id}\", {traces}, {layout}, {{responsive: true}});</script>\n",
        traces = Value::from(traces),
    )
}

/// `text` for a page and for the scripts within it, where a label must not end the script.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_engine::{Curve, Directive, GroupRate, Source};
    use lrs_model::spec::Spec;

    fn preview(label: &str, momentum: Option<f64>) -> Preview {
        let rate = GroupRate { group: "default".into(), learning_rate: 0.5, momentum, weight_decay: None };
        let directive = |step| Directive {
            step,
            rates: vec![rate.clone()],
            source: Source::Schedule,
            told: lrs_engine::Told::default(),
        };
        let curve =
            Curve { steps: vec![0, 1], directives: vec![directive(0), directive(1)], expanded: Spec::default() };
        Preview { label: label.to_owned(), curve }
    }

    #[test]
    fn each_output_that_is_there_has_a_chart() {
        let charts = |momentum| html(&[preview("a", momentum)]).matches("Plotly.newPlot(").count();
        assert_eq!(charts(Some(0.9)), charts(None) + 1);
    }

    #[test]
    fn a_label_is_text_whatever_it_holds() {
        let page = html(&[preview("</script><b>", None)]);
        assert!(page.contains("<h1>&lt;/script&gt;&lt;b&gt;</h1>"));
        assert!(!page.contains("</script><b>"));
    }
}
