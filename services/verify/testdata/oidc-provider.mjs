// A certified OpenID provider (npm oidc-provider) as the issuer that people sign in with. Whoever
// signs in is who they say they are; an address that begins with "unverified" is not verified.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.env.PEER_MODULES + '/');
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const issuer = process.env.PEER_ISSUER;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'agnes', client_secret: process.env.PEER_CLIENT_SECRET,
    redirect_uris: [process.env.PEER_REDIRECT], response_types: ['code'], grant_types: ['authorization_code'],
  }],
  pkce: { required: () => true },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: false, // e-mail and name stand in the ID token, as with Google
  cookies: { keys: ['a key for tests'] },
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, email: sub, email_verified: !sub.startsWith('unverified'), name: 'Name of ' + sub }),
  }),
});
provider.listen(Number(new URL(issuer).port), '127.0.0.1', () => console.log('listening'));
