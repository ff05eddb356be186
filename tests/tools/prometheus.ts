/** A real Prometheus on loopback, in a folder of its own, with our rules and a daemon to look at. */

import { stringify } from "@std/yaml";
import { freePort } from "../cli/doctor_support.ts";
import { until } from "../support/until.ts";
import { MONITORING, readYaml } from "../monitoring/support.ts";

/** One series of an answer. */
export interface Sample {
  metric: Record<string, string>;
  value: [time: number, value: string];
}

interface PrometheusConfig {
  global: Record<string, string>;
  rule_files: string[];
  alerting?: unknown;
  scrape_configs: { job_name: string; static_configs: { targets: string[] }[] }[];
}

/** Once a second, so that a test need not wait for a minute. */
const INTERVAL = "1s";

export class Prometheus {
  private constructor(readonly url: string, private readonly child: Deno.ChildProcess) {}

  /** Starts it with the packaged configuration, the intervals shortened and the target replaced. */
  static async start(dir: string, target: string): Promise<Prometheus> {
    const config = await readYaml<PrometheusConfig>(`${MONITORING}/prometheus.yml`);
    config.global = { scrape_interval: INTERVAL, evaluation_interval: INTERVAL };
    config.rule_files = config.rule_files.map((name) => `${MONITORING}/${name}`);
    delete config.alerting;
    config.scrape_configs[0]!.static_configs = [{ targets: [target] }];
    await Deno.writeTextFile(`${dir}/prometheus.yml`, stringify(config));
    const at = `127.0.0.1:${freePort()}`;
    const child = new Deno.Command("prometheus", {
      args: [
        `--config.file=${dir}/prometheus.yml`,
        `--storage.tsdb.path=${dir}/tsdb`,
        `--web.listen-address=${at}`,
        "--log.level=error",
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const prometheus = new Prometheus(`http://${at}`, child);
    try {
      await until(() => prometheus.#isReady(), "Prometheus to be ready");
    } catch (error) {
      await prometheus.stop();
      throw error;
    }
    return prometheus;
  }

  async #isReady(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/-/ready`);
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false; // Not yet.
    }
  }

  // deno-lint-ignore no-explicit-any -- a test picks out of any answer what it wants
  async ask(path: string): Promise<any> {
    const answer = await (await fetch(`${this.url}/api/v1/${path}`)).json();
    if (answer.status !== "success") throw new Error(`Prometheus says: ${JSON.stringify(answer)}`);
    return answer.data;
  }

  /** What a query gives now, NaN left out: Grafana shows nothing for it. */
  async query(expr: string): Promise<Sample[]> {
    const { result } = await this.ask(`query?query=${encodeURIComponent(expr)}`);
    return (result as Sample[]).filter(({ value }) => value[1] !== "NaN");
  }

  async stop(): Promise<void> {
    this.child.kill("SIGTERM");
    await this.child.status;
  }
}
