/**
 * The Grafana dashboard, made from the metric registry: `dashboard_rows.ts` says what is shown, this file puts it
 * into Grafana's form. Committed as packaging/monitoring/gomail-dashboard.json; a test makes it anew and compares.
 */

import type { Metrics } from "../../src/base/metrics.ts";
import { dashboardRows, type Panel } from "./dashboard_rows.ts";
import { Queries } from "./metric_queries.ts";

const COLUMNS = 24;
const HEIGHT = { stat: 4, timeseries: 8 } as const;
const DATASOURCE = { type: "prometheus", uid: "${datasource}" };

function fieldConfig({ unit, kind, thresholds = [], stacked = false, min = 0 }: Panel) {
  const steps = [
    { color: "green", value: null },
    ...thresholds.map(([value, color]) => ({ color, value })),
  ];
  const custom = {
    drawStyle: "line",
    fillOpacity: stacked ? 40 : 10,
    showPoints: "never",
    stacking: { mode: stacked ? "normal" : "none" },
    thresholdsStyle: { mode: thresholds.length > 0 ? "line" : "off" },
  };
  return {
    defaults: {
      unit,
      min,
      thresholds: { mode: "absolute", steps },
      ...(kind === "timeseries" && { custom }),
    },
    overrides: [],
  };
}

function options({ kind, shows }: Panel) {
  if (kind === "timeseries") {
    return {
      legend: { displayMode: "list", placement: "bottom", showLegend: true },
      tooltip: { mode: "multi", sort: "desc" },
    };
  }
  return {
    colorMode: "value",
    graphMode: "none",
    reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
    textMode: shows ?? "auto",
  };
}

function panelJson(panel: Panel, id: number, gridPos: Record<"x" | "y" | "w" | "h", number>) {
  return {
    id,
    type: panel.kind,
    title: panel.title,
    description: panel.description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: fieldConfig(panel),
    options: options(panel),
    targets: panel.queries.map(({ expr, legend }, i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend,
      ...(panel.kind === "stat" && { instant: true }),
    })),
  };
}

/** Rows under each other, panels from left to right. */
function layOut(metrics: Metrics) {
  const panels: unknown[] = [];
  let id = 0;
  let y = 0;
  for (const { title, panels: inRow } of dashboardRows(metrics, new Queries(metrics))) {
    panels.push({
      id: ++id,
      type: "row",
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: COLUMNS, h: 1 },
      panels: [],
    });
    y++;
    let x = 0;
    let h = 0;
    for (const panel of inRow) {
      if (x + panel.width > COLUMNS) {
        y += h;
        [x, h] = [0, 0];
      }
      h = Math.max(h, HEIGHT[panel.kind]);
      panels.push(panelJson(panel, ++id, { x, y, w: panel.width, h: HEIGHT[panel.kind] }));
      x += panel.width;
    }
    y += h;
  }
  return panels;
}

/** gomail-dashboard.json. */
export function dashboard(metrics: Metrics): string {
  const { name } = new Queries(metrics).info(metrics.buildInfo);
  const json = {
    uid: "gomail",
    title: "GoMail",
    description: "Made from GoMail's metric registry; changes belong into packaging/build/dashboard_rows.ts",
    tags: ["gomail", "mail"],
    schemaVersion: 37,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    timezone: "",
    links: [],
    annotations: { list: [] },
    templating: {
      list: [
        {
          name: "datasource",
          label: "Data source",
          type: "datasource",
          query: "prometheus",
          current: {},
          hide: 0,
        },
        {
          name: "instance",
          label: "Instance",
          type: "query",
          datasource: DATASOURCE,
          query: { query: `label_values(${name}, instance)`, refId: "instance" },
          refresh: 2,
          sort: 1,
          multi: true,
          includeAll: true,
          allValue: ".*",
          current: { selected: true, text: "All", value: "$__all" },
          hide: 0,
        },
      ],
    },
    panels: layOut(metrics),
  };
  return JSON.stringify(json, null, 2) + "\n";
}
