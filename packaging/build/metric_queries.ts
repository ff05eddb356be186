/**
 * PromQL made from the metrics themselves: a query takes the metric as the program has it, so that none can name one
 * that does not exist, or group by a label that the metric does not have. The dashboard and the recording rules are
 * made of these.
 */

import type { Metrics } from "../../src/base/metrics.ts";

export type Metric = ReturnType<Metrics["registry"]["getMetricsAsArray"]>[number];

/** Of a metric that is in the registry, what queries need. */
export interface MetricInfo {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  labels: readonly string[];
}

/** The quantiles that recording rules keep of every histogram. */
export const QUANTILES = { p50: 0.5, p95: 0.95, p99: 0.99 } as const;
export type Quantile = keyof typeof QUANTILES;

/** Every metric of the registry, in the order of its declaration. */
export function metricsIn({ registry }: Pick<Metrics, "registry">): MetricInfo[] {
  return registry.getMetricsAsArray().map((metric) => infoOf(metric));
}

/** The library knows its own metrics better than its types say. */
function infoOf(metric: unknown): MetricInfo {
  const { name, help, type, labelNames, constructor } = metric as Record<string, unknown>;
  const kind = String(type ?? (constructor as { name: string }).name).toLowerCase();
  return {
    name: String(name),
    help: String(help),
    type: kind as MetricInfo["type"],
    labels: labelNames as readonly string[],
  };
}

/** The name under which a recording rule keeps a quantile. */
export function quantileName({ name }: MetricInfo, quantile: Quantile): string {
  return `instance:${name}:${quantile}_5m`;
}

export interface Grouping {
  by?: readonly string[];
  /** Label and pattern. */
  where?: Readonly<Record<string, string>>;
}

/** What the dashboard's variable chooses. */
const CHOSEN = 'instance=~"$instance"';

export class Queries {
  readonly #known: Map<unknown, MetricInfo>;
  /** Names that were asked for. */
  readonly used = new Set<string>();

  constructor({ registry }: Pick<Metrics, "registry">) {
    this.#known = new Map(registry.getMetricsAsArray().map((metric) => [metric, infoOf(metric)]));
  }

  info(metric: unknown): MetricInfo {
    const info = this.#known.get(metric);
    if (!info) throw new Error("Cannot ask for the metric: it is not in the registry");
    this.used.add(info.name);
    return info;
  }

  /** Events a second. */
  rate(metric: unknown, { by = [], where }: Grouping = {}): string {
    const info = this.#checked(metric, "counter", by, where);
    const series = `rate(${info.name}${selector(where)}[$__rate_interval])`;
    return by.length === 0 ? `sum(${series})` : `sum by (${by.join(", ")}) (${series})`;
  }

  /** A gauge's value, the instances apart. */
  value(metric: unknown, { where }: Grouping = {}): string {
    return `${this.#checked(metric, "gauge", [], where).name}${selector(where)}`;
  }

  /** From the recording rules. */
  quantile(metric: unknown, quantile: Quantile): string {
    return `${quantileName(this.#checked(metric, "histogram"), quantile)}{${CHOSEN}}`;
  }

  /** The mean of everything a histogram has seen since the start. */
  mean(metric: unknown): string {
    const { name } = this.#checked(metric, "histogram");
    return `${name}_sum{${CHOSEN}} / ${name}_count{${CHOSEN}}`;
  }

  #checked(
    metric: unknown,
    type: MetricInfo["type"],
    by: readonly string[] = [],
    where: Grouping["where"] = {},
  ): MetricInfo {
    const info = this.info(metric);
    if (info.type !== type) throw new Error(`Cannot ask ${info.name} as a ${type}: it is a ${info.type}`);
    const unknown = [...by, ...Object.keys(where)].filter((label) => !info.labels.includes(label));
    if (unknown.length > 0) throw new Error(`Cannot ask ${info.name} by ${unknown}: it has no such label`);
    return info;
  }
}

function selector(where: Grouping["where"] = {}): string {
  return `{${[CHOSEN, ...Object.entries(where).map(([label, value]) => `${label}=~"${value}"`)].join(",")}}`;
}
