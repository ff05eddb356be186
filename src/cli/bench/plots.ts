/** Line plots as inline SVG: axes, ticks, a legend; numbers only, and every text escaped. */

export interface Series {
  label: string;
  /** A class of the page's style, which has a colour for light and for dark. */
  tone: "a" | "b" | "c" | "d";
  points: readonly (readonly [x: number, y: number])[];
}

export interface Plot {
  title: string;
  xLabel: string;
  yLabel: string;
  series: readonly Series[];
  /** Latencies span decades: then the axis does as well. */
  isLogX?: boolean;
  isLogY?: boolean;
}

const WIDTH = 720, HEIGHT = 280;
const LEFT = 64, RIGHT = 16, TOP = 34, BOTTOM = 44;
const TICKS = 5;

export function escapeHtml(text: string): string {
  const names: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (char) => names[char]!);
}

interface Axis {
  at(value: number): number;
  ticks: number[];
}

function niceStep(span: number): number {
  const raw = span / TICKS;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw) ?? raw;
}

/** From data to pixels. Logarithmic: whole decades around the data; else from 0 to a round number. */
function axis(values: readonly number[], isLog: boolean, from: number, to: number): Axis {
  const positive = values.filter((value) => value > 0);
  if (isLog && positive.length > 0) {
    const low = Math.floor(Math.log10(Math.min(...positive)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))));
    const at = (value: number) =>
      from + (to - from) * (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return { at, ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) };
  }
  const most = Math.max(0, ...values) || 1;
  const step = niceStep(most);
  const top = Math.ceil(most / step) * step;
  const at = (value: number) => from + (to - from) * value / top;
  return { at, ticks: Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step) };
}

const px = (value: number) => value.toFixed(1);
const tickText = (value: number) => String(Number(value.toPrecision(6)));

function line({ points, tone }: Series, x: Axis, y: Axis): string {
  const path = points.map(([px0, py0], i) => `${i === 0 ? "M" : "L"}${px(x.at(px0))} ${px(y.at(py0))}`);
  return path.length === 0 ? "" : `<path class="line ${tone}" d="${path.join("")}"/>`;
}

export function plotSvg(plot: Plot): string {
  const points = plot.series.flatMap((series) => series.points);
  const x = axis(points.map(([value]) => value), plot.isLogX ?? false, LEFT, WIDTH - RIGHT);
  const y = axis(points.map(([, value]) => value), plot.isLogY ?? false, HEIGHT - BOTTOM, TOP);
  const bottom = HEIGHT - BOTTOM;
  const xTicks = x.ticks.map((value) =>
    `<line class="grid" x1="${px(x.at(value))}" x2="${px(x.at(value))}" y1="${TOP}" y2="${bottom}"/>` +
    `<text x="${px(x.at(value))}" y="${bottom + 16}" text-anchor="middle">${tickText(value)}</text>`
  );
  const yTicks = y.ticks.map((value) =>
    `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${px(y.at(value))}" y2="${
      px(y.at(value))
    }"/>` +
    `<text x="${LEFT - 6}" y="${px(y.at(value) + 4)}" text-anchor="end">${tickText(value)}</text>`
  );
  const legend = plot.series.map(({ label, tone }, i) =>
    `<line class="line ${tone}" x1="${LEFT + i * 160}" x2="${LEFT + i * 160 + 20}" y1="18" y2="18"/>` +
    `<text x="${LEFT + i * 160 + 26}" y="22">${escapeHtml(label)}</text>`
  );
  const nothing = points.length > 0 ? "" : `<text x="${WIDTH / 2}" y="${HEIGHT / 2}">nothing measured</text>`;
  return `<figure><figcaption>${escapeHtml(plot.title)}</figcaption>` +
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(plot.title)}">` +
    [...xTicks, ...yTicks, ...plot.series.map((series) => line(series, x, y)), ...legend].join("") + nothing +
    `<text x="${(LEFT + WIDTH) / 2}" y="${HEIGHT - 8}" text-anchor="middle">${
      escapeHtml(plot.xLabel)
    }</text>` +
    `<text x="14" y="${HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 ${HEIGHT / 2})">${
      escapeHtml(plot.yLabel)
    }</text></svg></figure>`;
}
