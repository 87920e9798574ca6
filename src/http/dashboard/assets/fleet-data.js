// Turns the server's data about the fleet into rows of the table.

import { decisionOf } from "./decision.js";
import { jobOf } from "./job-data.js";

export const FLEET_URL = "/v1/fleet";
export const FLEET_EVENTS_URL = "/v1/fleet:watch";

/** A job of the fleet as a row. */
export function rowOf(entry) {
  const job = jobOf(entry.job);
  const labels = Object.entries(entry.job.spec?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
  return {
    ...job,
    rates: job.groups.filter((group) => group.now !== null).map((group) => ({ name: group.name, value: group.now })),
    spark: (entry.sparkline ?? []).map((value) => (value === null ? NaN : value)),
    decision: entry.last_decision ? decisionOf(entry.last_decision) : null,
    health: entry.health,
    reason: entry.health_reason ?? "",
    text: [job.name, job.title, job.experiment, job.state, job.arm, ...labels].join(" ").toLowerCase(),
  };
}
