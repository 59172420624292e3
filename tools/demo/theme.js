// Light, dark, or what the reader's system asks for. The widgets follow the same mark in JupyterLab.
for (const choice of document.querySelectorAll("input[name=theme]"))
  choice.addEventListener("change", () => {
    if (choice.value === "system") delete document.body.dataset.jpThemeLight;
    else document.body.dataset.jpThemeLight = String(choice.value === "light");
  });
