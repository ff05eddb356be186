/** The store's worker with two ways to crash it: asking for the message "crash", or a request id that says so. */

import "../../src/store/worker.ts";

interface Scope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
}

const scope = self as unknown as Scope;
const serve = scope.onmessage;
const post = scope.postMessage.bind(scope);
const state = { crashOnAnswer: false };

function crash(): void {
  setTimeout(() => {
    throw new Error("crash on purpose");
  });
}

scope.postMessage = (message) => {
  if (state.crashOnAnswer) return crash();
  post(message);
};

scope.onmessage = (event) => {
  const text = JSON.stringify(event.data.calls ?? []);
  if (text.includes('"crash"')) return crash();
  if (text.includes("crash after commit")) state.crashOnAnswer = true;
  serve?.call(scope, event);
};
