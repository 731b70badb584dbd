// A browser without a screen, and a person who signs in with it, for the client libraries of this folder.

import { Agent, fetch as undici } from 'undici'

// Browsers find every name below localhost on this machine (RFC 6761 section 6.3); the resolver of Node.js does not.
const dispatcher = new Agent({
  connect: {
    lookup: (host, options, found) =>
      options.all ? found(null, [{ address: '127.0.0.1', family: 4 }]) : found(null, '127.0.0.1', 4),
  },
})

export const fetch = (url, options) => undici(url, { ...options, dispatcher })

/** It keeps cookies and follows redirects as long as they stay on the provider's origin. */
export class Browser {
  #cookies = new Map()
  #origin

  constructor(origin) {
    this.#origin = origin
  }

  async #request(url, options = {}) {
    for (;;) {
      const headers = { ...options.headers, cookie: [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ') }
      const response = await fetch(url, { ...options, headers, redirect: 'manual' })
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
        if (/;\s*max-age=(0|-\d+)/i.test(line)) this.#cookies.delete(name)
        else this.#cookies.set(name, value)
      }
      const location = response.headers.get('location')
      if (!location) return { url, status: response.status, html: await response.text() }
      await response.body?.cancel()
      url = new URL(location, url)
      if (url.origin !== this.#origin) return { url }
      options = {}
    }
  }

  open(url) {
    return this.#request(url)
  }

  /** Sends the form of the page that has the id, with the fields of the page and those given. */
  submit(page, id, fields = {}) {
    const [, attributes, inside] = new RegExp(`<form\\b([^>]*\\bid="${id}"[^>]*)>(.*?)</form>`, 's').exec(page.html)
    const body = new URLSearchParams()
    for (const [, input] of inside.matchAll(/<input\b([^>]*)>/g)) {
      const name = attribute(input, 'name')
      if (name) body.set(name, fields[name] ?? attribute(input, 'value') ?? '')
    }
    const action = new URL(attribute(attributes, 'action') ?? '', page.url)
    return this.#request(action, { method: 'POST', body, headers: { origin: this.#origin } })
  }
}

function attribute(tag, name) {
  const found = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)
  return found?.[1].replaceAll('&amp;', '&').replaceAll('&#43;', '+').replaceAll('&#34;', '"')
}

/**
 * Follows an authorization URL as a person does. Returns the address to which the provider sends the browser back, and the pages
 * that were seen on the way.
 */
export async function signIn(browser, address, identifier, password) {
  const seen = []
  let page = await browser.open(address)
  while (page.html) {
    if (page.html.includes('id="login-form"') && !seen.includes('login')) {
      seen.push('login')
      page = await browser.submit(page, 'login-form', { identifier, password })
    } else if (page.html.includes('id="consent-form"') && !seen.includes('consent')) {
      seen.push('consent')
      page = await browser.submit(page, 'consent-form')
    } else {
      throw new Error(`neither login nor consent at ${page.url} (${page.status}) after ${seen}:\n${page.html}`)
    }
  }
  return { back: page.url, seen }
}
