/** Passkeys of the browser (WebAuthn Level 3), in the JSON that Plinth takes. */

interface Json {
  toJSON(): object;
}

/** A new passkey, as RegistrationResponseJSON. Rejects with a DOMException if the user declines. */
export async function createPasskey(options: object): Promise<object> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options as PublicKeyCredentialCreationOptionsJSON);
  return jsonOf(await navigator.credentials.create({ publicKey }));
}

/** What a passkey answers, as AuthenticationResponseJSON. Rejects with a DOMException if the user declines. */
export async function answerOfPasskey(options: object): Promise<object> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options as PublicKeyCredentialRequestOptionsJSON);
  return jsonOf(await navigator.credentials.get({ publicKey }));
}

function jsonOf(credential: Credential | null): object {
  if (credential === null) {
    throw new DOMException("The browser has made no passkey.", "NotAllowedError");
  }
  return (credential as unknown as Json).toJSON();
}
