// A slider flips through frames that were computed when the site was made.
for (const box of document.querySelectorAll(".slider")) {
  const { values, says, pngs } = JSON.parse(box.dataset.frames);
  const [image, input, text] = ["img", "input", "p"].map((tag) => box.querySelector(tag));
  const show = () => {
    const i = Number(input.value);
    image.src = "data:image/png;base64," + pngs[i];
    image.alt = says[i];
    text.textContent = `${values[i]}: ${says[i]}`;
    input.setAttribute("aria-valuetext", text.textContent);
  };
  input.addEventListener("input", show);
  show();
  box.hidden = false;
}
