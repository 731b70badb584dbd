// A page of a client asks, from around this frame, whether the browser's session is still the one it knows: "client_id session_state". The
// answer is as OpenID Connect Session Management section 3.2 has it; the origin is the asking page's own, as the browser tells it.
addEventListener("message", async ({ data, origin, source }) => {
  if (origin === "null" || !source) return;
  const words = typeof data === "string" ? data.split(" ") : [];
  const salt = words[1]?.split(".")[1];
  if (words.length !== 2 || !words[0] || !salt) return source.postMessage("error", origin);
  const state = /(?:^|; )(?:__Host-)?browser_state=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const text = new TextEncoder().encode([words[0], origin, state, salt].join(" "));
  const hash = btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", text))));
  const own = hash.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "") + "." + salt;
  source.postMessage(own === words[1] ? "unchanged" : "changed", origin);
});
