//! Every method that has an HTTP route in the protos, as JSON: the request is put together from path, query and body,
//! the method is called as gRPC calls it, and its answer is written in canonical JSON. Nothing here knows a method by
//! name.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{Extension, Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderValue, Method, Uri, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use lrs_engine::Error;
use lrs_model::violation::Violations;
use lrs_proto::{lengths::Scale, reflect::http_routes};
use tonic::Status;

use super::{Problem, Shared, body, reports, watch};

mod route;
mod scale;
mod template;

use route::{Body, Route};

/// The routes that have one path for the router, and differ in their HTTP method or in the verb at the end of the path.
type Routes = Arc<[Route]>;

/// `router` with every route of every method.
pub(super) fn add_routes(router: Router<Shared>) -> Router<Shared> {
    let mut by_path: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for route in http_routes().map(|route| Route::new(&route)) {
        by_path.entry(route.template.router_path()).or_default().push(route);
    }
    by_path.into_iter().fold(router, |router, (path, of_path)| {
        router.route(&path, any(answer).layer(Extension(Routes::from(of_path))))
    })
}

/// The HTTP method and the path of every route, as the router writes paths, with its verb.
pub(super) fn routes() -> impl Iterator<Item = (Method, String)> {
    http_routes().map(|route| {
        let Route { method, template, .. } = Route::new(&route);
        let path = template.router_path();
        (method, if template.verb.is_empty() { path } else { format!("{path}:{}", template.verb) })
    })
}

/// Answers a request whose path leads to `routes`.
async fn answer(
    State(shared): State<Shared>,
    Extension(routes): Extension<Routes>,
    Path(texts): Path<Vec<(String, String)>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let mut texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    let verb = if routes[0].template.takes_verbs() { split_verb(&mut texts) } else { String::new() };
    let route = find(&routes, &verb, request.method(), request.uri())?;
    let Query(mut parameters) = query.map_err(|problem| body::invalid("query", problem))?;

    let mut violations = Violations::new();
    let form = reports::take_form(route.output.full_name(), &mut parameters, &mut violations);
    let body = match route.body {
        Body::None => Bytes::new(),
        Body::Whole | Body::Field(..) => body::read(request).await?,
    };
    let scale = match route.measure(&texts, &body) {
        Some(job) => scale::of_job(&shared.calls, job, &route.mask(&parameters)).await?,
        None => Scale::default(),
    };
    let wire: Bytes = route.request(&texts, parameters, (&body, scale), &mut violations).into();
    violations.into_result(()).map_err(Error::Invalid)?;

    if route.is_stream {
        let slot = shared.watchers.take()?;
        let answers = shared.calls.stream(route.rpc.clone(), wire).await?;
        return Ok(watch::of_answers(answers, route.output.clone(), route.answer, slot));
    }
    let answer = shared.calls.unary(route.rpc.clone(), wire).await?;
    if let Some(form) = form {
        return form.write(answer).await;
    }
    let json = route.answer.write(&answer).map_err(|problem| Status::internal(problem.to_string()))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response())
}

/// Takes the verb off the last text of the path: no name of a resource has a colon.
fn split_verb(texts: &mut [String]) -> String {
    let Some(last) = texts.last_mut() else { return String::new() };
    let Some((name, verb)) = last.rsplit_once(':') else { return String::new() };
    let verb = verb.to_owned();
    last.truncate(name.len());
    verb
}

/// The route of a verb and an HTTP method; a `HEAD` is a `GET` whose body nobody reads.
fn find<'a>(routes: &'a [Route], verb: &str, method: &Method, uri: &Uri) -> Result<&'a Route, Problem> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let of_verb: Vec<&Route> = routes.iter().filter(|route| route.template.verb == verb).collect();
    if let Some(route) = of_verb.iter().find(|route| route.method == method) {
        return Ok(route);
    }
    if of_verb.is_empty() {
        let verbs = routes.iter().filter(|route| !route.template.verb.is_empty());
        let verbs: Vec<String> = verbs.map(|route| format!("{} {}", route.method, route.template.verb)).collect();
        let what = if verb.is_empty() { "nothing without a verb".to_owned() } else { format!("no verb {verb:?}") };
        return Err(Status::not_found(format!("{} has {what}: there is {}", uri.path(), verbs.join(", "))).into());
    }
    let in_order = [Method::GET, Method::POST, Method::PATCH, Method::DELETE].into_iter();
    let allowed = in_order.filter(|method| of_verb.iter().any(|route| route.method == method));
    let allowed = allowed.map(|method| if method == Method::GET { "GET,HEAD".to_owned() } else { method.to_string() });
    let allowed = allowed.collect::<Vec<_>>().join(",");
    Err(Problem::method(format!("{method} is not a method of {}: there is {allowed}", uri.path()), Some(allowed)))
}
