// The page has the applications in its frames end what they keep. When all have been loaded, or after a few seconds, it goes back to
// the application that asked, as its link does.
{
  const leave = () => location.replace(document.getElementById("logged-out-return").href);
  addEventListener("load", leave);
  setTimeout(leave, 4000);
}
