// Signs a statement with an EIP-1193 wallet (eth_signTypedData_v4) and sends the form with the
// signature. The key stays in the wallet; the page sees the signature alone.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const wallet = window.ethereum;
  if (!wallet || typeof wallet.request !== "function") return;
  for (const button of document.querySelectorAll("[data-wallet-fill]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const [account] = await wallet.request({ method: "eth_requestAccounts" });
      button.form.querySelector("[data-wallet-account]").value = account;
    });
  }
  for (const form of document.querySelectorAll("form[data-wallet]")) {
    const button = form.querySelector("[data-wallet-sign]");
    form.querySelector("[data-wallet-missing]").hidden = true;
    button.hidden = false;
    button.addEventListener("click", async (event) => {
      if (form.elements.signature.value) return;
      event.preventDefault();
      const refused = form.querySelector("[data-wallet-refused]");
      refused.hidden = true;
      button.setAttribute("aria-disabled", "true");
      try {
        const [account] = await wallet.request({ method: "eth_requestAccounts" });
        form.elements.signature.value = await wallet.request({
          method: "eth_signTypedData_v4",
          params: [account, form.dataset.wallet],
        });
        form.requestSubmit();
      } catch {
        refused.hidden = false;
        button.removeAttribute("aria-disabled");
      }
    });
  }
});
