// Forms that a passkey answers. `data-passkey` says what to ask an existing one for, `data-passkey-new` how to make one;
// what the browser gives goes into the field `answer`, and the form is sent. Nothing is decided here: whether an answer
// is right, the desk finds out, and every node of the proxy after it.

const WORDS = {
  NotAllowedError: "It was cancelled, or it took too long. Nothing was signed. You can try again.",
  AbortError: "It was cancelled. Nothing was signed. You can try again.",
  InvalidStateError: "This device has a passkey of yours for this desk already. Use another one.",
  SecurityError: "Your browser has no passkeys under this address. Nothing was signed.",
  NotSupportedError: "This device cannot make or use such a passkey. Nothing was signed.",
};
const ASKING = "Now touch your security key, or confirm on your phone or this device.";
const TOO_OLD = "This browser is too old for passkeys here. Use a newer one, or sign in a terminal.";

const able =
  typeof PublicKeyCredential === "function" &&
  typeof PublicKeyCredential.parseRequestOptionsFromJSON === "function" &&
  typeof PublicKeyCredential.prototype.toJSON === "function";

async function ask(form) {
  if (form.dataset.passkeyNew !== undefined) {
    const options = JSON.parse(form.dataset.passkeyNew);
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  }
  const options = JSON.parse(form.dataset.passkey);
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
}

function prepare(form) {
  const without = form.querySelectorAll("[data-passkey-without]");
  if (!able) {
    for (const each of without) each.textContent = TOO_OLD;
    return;
  }
  for (const each of without) each.hidden = true;
  const told = document.createElement("p");
  told.className = "notice";
  told.setAttribute("role", "status");
  told.hidden = true;
  form.append(told);
  let asking = false;

  function tell(text, bad) {
    told.hidden = false;
    told.classList.toggle("bad", bad);
    told.textContent = text;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asking) return;
    asking = true;
    tell(ASKING, false);
    try {
      form.elements.namedItem("answer").value = JSON.stringify((await ask(form)).toJSON());
      form.submit();
    } catch (fault) {
      tell(WORDS[fault.name] ?? `Your browser could not ask a passkey (${fault.name}). Nothing was signed.`, true);
      asking = false;
    }
  });
  for (const each of form.querySelectorAll("button")) {
    each.disabled = false;
    each.hidden = false;
  }
}

for (const form of document.querySelectorAll("form[data-passkey], form[data-passkey-new]")) prepare(form);
