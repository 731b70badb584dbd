// The page carries an answer to the application in a form. Where scripts run, nobody has to press its button.
document.getElementById("answer-form").submit();
