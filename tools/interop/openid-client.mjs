// Signs a person in with openid-client, the certified client library for Node.js, and prints what came of it.
//
// It reads one JSON object from standard input:
//   issuer, client_id, client_secret (null: a public client), redirect_uri, identifier, password,
//   and for client_credentials: machine (null, or client_id, client_secret, resource, scope)
// and writes one to standard output. Any step that fails ends it with the reason on standard error and exit status 1.

import { text } from 'node:stream/consumers'
import * as oidc from 'openid-client'
import { Agent, fetch as undici } from 'undici'

// Browsers find every name below localhost on this machine (RFC 6761 section 6.3); the resolver of Node.js does not.
const dispatcher = new Agent({
  connect: {
    lookup: (host, options, found) =>
      options.all ? found(null, [{ address: '127.0.0.1', family: 4 }]) : found(null, '127.0.0.1', 4),
  },
})
const fetch = (url, options) => undici(url, { ...options, dispatcher })

/** A browser without a screen: it keeps cookies and follows redirects as long as they stay on the provider's origin. */
class Browser {
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

/** Follows an authorization URL as a person does and returns the address to which the provider sends the browser back. */
async function signIn(address, identifier, password) {
  const browser = new Browser(address.origin)
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

function discover(issuer, id, secret) {
  const authentication = secret ? oidc.ClientSecretBasic(secret) : oidc.None()
  return oidc.discovery(new URL(issuer), id, undefined, authentication, {
    execute: [oidc.allowInsecureRequests],
    [oidc.customFetch]: fetch,
  })
}

async function codeFlow(input) {
  const config = await discover(input.issuer, input.client_id, input.client_secret)
  const metadata = config.serverMetadata()

  const pkceCodeVerifier = oidc.randomPKCECodeVerifier()
  const expectedState = oidc.randomState()
  const expectedNonce = oidc.randomNonce()
  const address = oidc.buildAuthorizationUrl(config, {
    redirect_uri: input.redirect_uri,
    scope: 'openid profile email offline_access',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
  })
  const { back, seen } = await signIn(address, input.identifier, input.password)

  // The library checks state, iss (RFC 9207), the ID token with its signature, nonce and at_hash, and throws.
  const tokens = await oidc.authorizationCodeGrant(config, back, { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true })
  const claims = tokens.claims()
  const userinfo = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)

  const fresh = await oidc.refreshTokenGrant(config, tokens.refresh_token)
  const introspection = input.client_secret ? await oidc.tokenIntrospection(config, fresh.access_token) : null

  await oidc.tokenRevocation(config, fresh.refresh_token)
  const revoked = await oidc.refreshTokenGrant(config, fresh.refresh_token).then(
    () => null,
    (error) => error.error,
  )
  const end_session = oidc.buildEndSessionUrl(config, { id_token_hint: fresh.id_token ?? tokens.id_token, state: expectedState })

  return {
    issuer: metadata.issuer,
    seen,
    claims,
    userinfo,
    scope: tokens.scope,
    rotated: fresh.refresh_token !== tokens.refresh_token && fresh.access_token !== tokens.access_token,
    introspection,
    revoked,
    end_session: end_session.href,
  }
}

async function clientCredentials(issuer, { client_id, client_secret, resource, scope }) {
  const config = await discover(issuer, client_id, client_secret)
  const tokens = await oidc.clientCredentialsGrant(config, { resource, scope })
  const [header, payload] = tokens.access_token.split('.', 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
  return { header, payload, scope: tokens.scope, expires_in: tokens.expires_in }
}

const input = JSON.parse(await text(process.stdin))
const result = await codeFlow(input)
if (input.machine) result.machine = await clientCredentials(input.issuer, input.machine)
console.log(JSON.stringify(result, null, 2))
